"""What must be right before the first chunk, found out in seconds."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import tempfile
from pathlib import Path

from mert_backfill.errors import UserError, one_line
from mert_backfill.profile import Profile, check_profile, write_profile

_BYTES_PER_TRACK = 16_384  # a vector, its rows in tables and journals, and file system blocks
_SPARE_BYTES = 64 * 2**20
PACKAGES = ("torch", "transformers", "librosa", "soundfile", "av", "numpy", "torchvision")


def environment() -> dict[str, str]:
    """Return the versions of the packages that matter; those not installed are left out."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def wants_gpu(device: str) -> bool:
    """Tell whether chunks will hold a GPU, without importing torch.

    Parameters
    ----------
    device : str
        ``runtime.device``; for auto the machine is asked for an NVIDIA or Apple GPU.
    """
    if device != "auto":
        return device != "cpu"
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    return apple or Path("/dev/nvidiactl").exists()


def check_imports() -> None:
    """Import what a chunk needs.

    Raises
    ------
    UserError
        An import fails; names the package, and torchvision where it is to blame.
    """
    for name in (
        "torch",
        "transformers.models.hubert.modeling_hubert",
        "librosa",
        "soundfile",
        "av",
    ):
        try:
            importlib.import_module(name)
        except Exception as error:
            package = name.split(".")[0]
            if package == "transformers" and _mentions_torchvision(error):
                raise UserError(
                    "torchvision does not fit the installed torch, and transformers cannot be "
                    f"imported ({one_line(error)}); run `python -m pip uninstall -y torchvision`, "
                    "or upgrade it"
                ) from error
            raise UserError(
                f"{package} cannot be imported ({one_line(error)}); install the pinned "
                "requirements again: pip install -r requirements.txt"
            ) from error


def check_results(results: Path, tracks: int) -> None:
    """Check that the results folder can be written, and holds what so many tracks need.

    Raises
    ------
    UserError
        It cannot, or there is too little free space.
    """
    folder = results / "embeddings"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".tmp-") as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}); free space there, or make the "
            "folder writable"
        ) from error
    needed = tracks * _BYTES_PER_TRACK + _SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: {free // 2**20} MiB are free, {tracks} tracks need about "
            f"{needed // 2**20} MiB; free some space and run the same command again"
        )


def prepare_store(results: Path, profile: Profile) -> None:
    """Write the store's profile.json, or check the one that is there.

    Raises
    ------
    UserError
        It is there and says something else.
    """
    path = results / "embeddings" / profile.name / "profile.json"
    check_profile(path, profile)
    if not path.exists():
        write_profile(path, profile)


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
