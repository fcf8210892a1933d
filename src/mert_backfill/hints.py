"""The commands that messages and pages tell people to type: each with the options of this run.

Whoever follows a hint word for word has to end up in the same library. What the run was called
with is found out once, by whoever started it, and reaches its jobs through the environment: it
cannot be of another run, as a file could.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from mert_backfill.errors import visible

CALL_VARIABLE = "MERT_BACKFILL_CALL"
# what `mert-backfill` calls a target of the workflow with keys for this one call
_FRONT_NAMES: Mapping[tuple[str, tuple[str, ...]], str] = {
    ("unpublish", ()): "undo",
    ("", ("retry_failed=true",)): "retry",
}


@dataclass(frozen=True)
class Caller:
    """How a run was called: what each command that is told has to repeat.

    Attributes
    ----------
    front : bool
        It was ``mert-backfill``, which called Snakemake.
    cores : int or None
        Cores of this machine; None where jobs run elsewhere, or nothing was said of them.
    options : tuple of str
        Words that go before a target: ``-s``, ``--directory``, ``--profile``.
    files, entries : tuple of str
        The words behind ``--configfile``, and those behind ``--config`` that are not for one run.
    rules : str
        What targets are called, ``*`` standing for the name: a module of another workflow may
        rename them.
    process : int
        The process that this is about; 0 where it is any.
    """

    front: bool = False
    cores: int | None = None
    options: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    rules: str = "*"
    process: int = 0

    def command(
        self, target: str = "", *, cores: int | None = None, config: str | Sequence[str] = ()
    ) -> str:
        """Do as `command`, for this caller."""
        once = (config,) if isinstance(config, str) else tuple(config)
        if self.front:
            name = _FRONT_NAMES.get((target, once))
            entries = self.entries if name else (*self.entries, *once)
            words = ["mert-backfill", name or target or "run", *self.options]
            words += [word for file in self.files for word in ("--configfile", file)]
            words += ["--cores", str(self.cores)] if self.cores and not cores else []
            words += [word for entry in entries for word in ("--config", entry)]
            return visible(shlex.join(words))
        count = self.cores and (cores or self.cores)
        words = ["snakemake", *(("--cores", str(count)) if count else ()), *self.options]
        # before --configfile and --config, which take all words that follow
        words += [self.rules.replace("*", target)] if target else []
        words += ["--configfile", *self.files] if self.files else []
        entries = (*self.entries, *once)
        return visible(shlex.join([*words, *(("--config", *entries) if entries else ())]))


# what is told where nothing is known, as in a job on a node that no environment reached
UNKNOWN = Caller(cores=2)


def command(target: str = "", *, cores: int | None = None, config: str | Sequence[str] = ()) -> str:
    """Return what to type, with the options that this run was called with, for a shell.

    Parameters
    ----------
    target : str
        A target of the workflow, or nothing: the run itself.
    cores : int, optional
        How many cores it needs; those that this run has by default.
    config : str or sequence of str
        A ``KEY=VALUE``, or some, for this one call.
    """
    return current_caller().command(target, cores=cores, config=config)


def current_caller() -> Caller:
    """Return how the run was called that this process is, or works for."""
    try:
        values = json.loads(os.environ[CALL_VARIABLE])
        lists = {name: tuple(values[name]) for name in ("options", "files", "entries")}
        return Caller(**{**values, **lists})
    except (KeyError, ValueError, TypeError):
        return UNKNOWN


def announce_caller(caller: Caller) -> None:
    """Have this process and those that it starts tell commands with these options."""
    os.environ[CALL_VARIABLE] = json.dumps(asdict(caller))
