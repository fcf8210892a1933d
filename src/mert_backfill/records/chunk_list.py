"""The names of the planned chunks, ``gaps/plan.json``."""

from __future__ import annotations

from pathlib import Path

from mert_backfill.errors import UserError
from mert_backfill.hints import command
from mert_backfill.system.tables import read_json


def read_chunk_names(path: Path | str) -> tuple[str, ...]:
    """Return the names in ``plan.json``, those of the planned chunks in order.

    Raises
    ------
    UserError
        The file is missing, or was not written by `write_plan`.
    """
    try:
        names = read_json(path)["chunks"]
        if not all(isinstance(name, str) for name in names):
            raise TypeError("a name that is no text")
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file; run the same command again") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: this is no list of planned chunks; delete it and run `{command()}`"
        ) from error
    return tuple(names)
