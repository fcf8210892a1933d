"""The app that the commands register with, and what goes before a command."""

from __future__ import annotations

from typing import Annotated

import typer

from mert_backfill import __version__

BEGINNING, EMBEDDING, META, USING = (
    "To begin with",
    "Embedding",
    "meta.json",
    "Using the vectors",
)
app = typer.Typer(
    name="mert-backfill",
    no_args_is_help=True,
    add_completion=False,
    help="Brings every track of a music library to a MERT embedding. Begin with init. Each command "
    "that does something prints the line of snakemake that it stands for.",
    epilog="Example: mert-backfill init ~/Music, then preview, then run --limit 10",
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
