"""Whether what a chunk needs can be imported: tried in a process of its own, which may die of it.

A package that was built for a newer processor ends the process that imports it with an illegal
instruction, without a word. ``python -m mert_backfill.chunk.imports`` imports them one by one and
says each name before.
"""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys

from mert_backfill.errors import UserError, one_line
from mert_backfill.system.children import python_command, python_environment

# transformers comes last, since it imports the others where it finds them
_NEEDED = (
    "soundfile",
    "soxr",
    "av",
    "safetensors",
    "torch",
    "transformers.models.hubert.modeling_hubert",
)
# what tells the harmony of a track imports only when it is used
_NEEDED_FOR_HARMONY = ("scipy.ndimage", "librosa.feature.spectral", "librosa.core.constantq")
_TRIED = "tried: "
_CURE = "install the pinned requirements again: pip install -r requirements.txt"


def check_imports(*, harmony: bool = False) -> None:
    """Try to import what a chunk needs, and what tells the harmony of a track where it is wanted.

    Raises
    ------
    UserError
        An import fails or takes its process down; names the package, and torchvision where it is
        to blame.
    """
    done = subprocess.run(
        [*python_command("mert_backfill.chunk.imports"), *(_NEEDED_FOR_HARMONY if harmony else ())],
        env=python_environment("mert_backfill"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode == 0:
        return
    said = done.stdout.splitlines()
    error = next((line for line in said if not line.startswith(_TRIED)), None)
    if error is not None:
        raise UserError(error)
    tried = [line.removeprefix(_TRIED) for line in said]
    package = tried[-1].partition(".")[0] if tried else "Python"
    raise UserError(f"{package} cannot be imported: {_how_it_ended(done.returncode)}")


def _how_it_ended(code: int) -> str:
    if code == -signal.SIGILL:
        return (
            "it asks for an instruction that this processor does not have (SIGILL); install a "
            "build of it for older processors, or run on another machine"
        )
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}; {_CURE}"
    return f"its process ended with exit code {code}; {_CURE}"


def main() -> int:
    """Import one package after the other; say each, and what is wrong with the first that fails."""
    for name in (*_NEEDED, *sys.argv[1:]):
        print(f"{_TRIED}{name}", flush=True)
        try:
            importlib.import_module(name)
        except Exception as error:
            print(_explain(name, error), flush=True)
            return 1
    return 0


def _explain(name: str, error: Exception) -> str:
    package = name.partition(".")[0]
    if package == "transformers" and _mentions_torchvision(error):
        return (
            "torchvision does not fit the installed torch, and transformers cannot be "
            f"imported ({one_line(error)}); run `python -m pip uninstall -y torchvision`, "
            "or upgrade it"
        )
    return f"{package} cannot be imported ({one_line(error)}); {_CURE}"


def _mentions_torchvision(error: BaseException | None) -> bool:
    while error is not None:
        if "torchvision" in str(error) or "InterpolationMode" in str(error):
            return True
        trace = error.__traceback__
        while trace is not None:
            if "torchvision" in trace.tb_frame.f_code.co_filename:
                return True
            trace = trace.tb_next
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    sys.exit(main())
