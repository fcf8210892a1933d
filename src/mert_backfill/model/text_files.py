"""The model's text files: JSON, read with errors that name the cure."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from mert_backfill.errors import UserError, one_line
from mert_backfill.system.tables import read_json

_MAX_BYTES = 10_000_000  # the index of a model in hundreds of shards has some 100 KB


def read_text_file(path: Path) -> dict[str, Any]:
    """Return a JSON object of the model."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path}: is not a file; restore the model's original file")
        if status.st_size > _MAX_BYTES:
            raise UserError(
                f"{path}: has {status.st_size:,} bytes, at most {_MAX_BYTES:,} are read; restore "
                "the model's original file"
            )
        value = read_json(path)
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: the file is missing; model.name must be the folder that holds the model's "
            "config.json, preprocessor_config.json and weights"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({one_line(error)}); make it readable") from error
    except ValueError as error:
        raise UserError(
            f"{path}: is not valid JSON ({error}); restore the model's original file"
        ) from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: is not a JSON object; restore the model's original file")
    return value
