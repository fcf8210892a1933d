"""How a command is handed over to Snakemake, and the options that all of them take."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from mert_backfill.config import SHORT_NAMES
from mert_backfill.errors import UserError, visible
from mert_backfill.hints import Caller, announce_caller
from mert_backfill.system.machine import usable_cpus

CONFIG_FILE = Path("my-library.yaml")
_CHECKOUT = Path(__file__).parents[3]

ConfigFile = Annotated[
    Path | None,
    typer.Option("--configfile", help=f"The config file; without it {CONFIG_FILE}, here."),
]
Directory = Annotated[
    Path | None,
    typer.Option("--directory", help="The folder that holds results/; without it, this one."),
]
Cores = Annotated[
    int | None, typer.Option("--cores", min=1, help="How many cores to use; without it, all.")
]
Entries = Annotated[
    list[str] | None,
    typer.Option("--config", metavar="KEY=VALUE", help="A key for this once, such as limit=10."),
]


@dataclass(frozen=True)
class Options:
    """The options of a command as they were given."""

    configfile: Path | None = None
    directory: Path | None = None
    cores: int | None = None
    config: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        """The config file.

        Raises
        ------
        UserError
            There is none.
        """
        file = self.configfile or (self.directory or Path()) / CONFIG_FILE
        if self.configfile is None and not file.is_file():
            raise UserError(
                f"there is no {file}: make one with `mert-backfill init MUSIC`, or name yours with "
                "--configfile"
            )
        return file

    @property
    def caller(self) -> Caller:
        """What commands that are told have to repeat."""
        options = ("--directory", str(self.directory)) if self.directory else ()
        return Caller(
            front=True,
            cores=self.cores,
            options=options,
            files=(str(self.configfile),) if self.configfile else (),
            entries=tuple(one for one in self.config if one.partition("=")[0] not in SHORT_NAMES),
            process=os.getpid(),  # which Snakemake takes over
        )

    def snakemake(self, target: str, flags: Sequence[str], cores: int | None) -> list[str]:
        """Return the command line of Snakemake, see `hand_over`."""
        words = ["snakemake", *flags, "--cores", str(cores or self.cores or usable_cpus())]
        if Path("Snakefile").resolve() != _CHECKOUT / "Snakefile":
            words += ["-s", str(_CHECKOUT / "Snakefile")]
        words += ["--directory", str(self.directory)] if self.directory else []
        words += [target] if target else []
        words += ["--configfile", str(self.file)]
        return [*words, *(("--config", *self.config) if self.config else ())]


def hand_over(
    options: Options, target: str = "", *, flags: Sequence[str] = (), cores: int | None = None
) -> NoReturn:
    """Tell the command line of Snakemake that does it, and become that process.

    Parameters
    ----------
    options : Options
        What was given.
    target : str
        The target of the workflow; without one, all.
    flags : sequence of str
        Further flags, such as ``-n``.
    cores : int, optional
        What it needs, whatever was given.

    Raises
    ------
    UserError
        There is no config file, or no checkout to work with.
    """
    words = options.snakemake(target, flags, cores)
    if not (_CHECKOUT / "Snakefile").is_file():
        raise UserError(
            f"{_CHECKOUT}: there is no Snakefile; mert-backfill works from a clone of its "
            "repository: install it with `make demo`, or `pip install -e .`"
        )
    announce_caller(options.caller)
    print(visible(shlex.join(words)), flush=True)
    # -P: a folder of music may hold a tqdm.py
    os.execv(sys.executable, [sys.executable, "-P", "-m", *words])
