"""``mert-backfill check-config``: whether a configuration can be used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mert_backfill.config import load_settings
from mert_backfill.config_file import read_config_file
from mert_backfill_snakemake.cli.app import BEGINNING, app


@app.command(
    "check-config",
    epilog="Example: mert-backfill check-config my-library.yaml",
    rich_help_panel=BEGINNING,
)
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
