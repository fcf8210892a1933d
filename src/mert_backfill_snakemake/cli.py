"""The command ``mert-backfill``: what is asked beside a run of Snakemake."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mert_backfill import __version__
from mert_backfill.config import load_settings
from mert_backfill.config_file import read_config_file
from mert_backfill.errors import UserError

app = typer.Typer(
    name="mert-backfill",
    no_args_is_help=True,
    add_completion=False,
    help="What is asked beside a run: to embed, call snakemake.",
)


def main() -> None:
    """Run the command; an error of the user's is one line and exit code 1."""
    try:
        app()
    except UserError as error:
        sys.exit(f"error: {error}")


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"mert-backfill {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Take what goes before the command."""


@app.command("check-config")
def check_config(
    file: Annotated[Path, typer.Argument(help="The config file, such as config/config.yaml.")],
    directory: Annotated[
        Path, typer.Option(help="The folder that relative paths start from, as for snakemake.")
    ] = Path(),
) -> None:
    """Say whether a configuration can be used, without starting anything."""
    config = read_config_file(file)
    load_settings(config, directory, given=config)
    print(f"{file}: all is well")
