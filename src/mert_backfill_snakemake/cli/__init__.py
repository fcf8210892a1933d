"""The command ``mert-backfill``: a front for those who do not know Snakemake.

Each module holds one group of commands and registers them with the one app. What is large (torch,
decoders, tables) is imported inside the command that needs it: `status` answers at once.
"""

from __future__ import annotations

import sys

from mert_backfill.errors import UserError
from mert_backfill_snakemake.cli import (  # noqa: F401 (they register their commands)
    check_config,
    failures,
    init,
    similar,
    status,
    workflow,
)
from mert_backfill_snakemake.cli.app import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command; an error of the user's is one line and exit code 1."""
    try:
        app(prog_name="mert-backfill")
    except UserError as error:
        sys.exit(f"error: {error}")
