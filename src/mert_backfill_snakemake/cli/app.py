"""The app that the commands register with, and what goes before a command."""

from __future__ import annotations

from typing import Annotated

import typer

from mert_backfill import __version__

app = typer.Typer(
    name="mert-backfill",
    no_args_is_help=True,
    add_completion=False,
    help="What is asked beside a run: to embed, call snakemake.",
)


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
