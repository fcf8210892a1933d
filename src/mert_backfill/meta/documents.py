"""The documents that rebuilding and publishing leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mert_backfill.errors import UserError
from mert_backfill.hints import command
from mert_backfill.system.tables import read_json, write_json


@dataclass(frozen=True)
class MetaSource:
    """What meta.json was rebuilt from: the content of ``meta/source.json``.

    Attributes
    ----------
    baseline : str
        The path of the baseline, or "None".
    sha256 : str or None
        Hash of the baseline's text [hex digits].
    tidied : str or None
        Hash of the ``tidied.jsonl`` whose changes are in it; None of none.
    """

    baseline: str
    sha256: str | None
    tidied: str | None = None

    @classmethod
    def read(cls, path: Path) -> MetaSource:
        """Read the document.

        Raises
        ------
        UserError
            It is missing or damaged.
        """
        try:
            record: Mapping[str, Any] = read_json(path)
            return cls(record["baseline"], record["sha256"], record.get("tidied"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: cannot be read; run `{command()}`, then publish again"
            ) from error

    def write(self, path: Path) -> None:
        """Write the document."""
        write_json(path, asdict(self))


@dataclass(frozen=True)
class Published:
    """Where meta.json was published to: the content of ``meta/published.json``.

    Attributes
    ----------
    live : Path
        The file in use.
    backup : Path or None
        What it was before; None when nothing was to be written.
    """

    live: Path
    backup: Path | None

    @classmethod
    def read(cls, path: Path) -> Published:
        """Read the document.

        Raises
        ------
        UserError
            It is missing or damaged.
        """
        try:
            record: Mapping[str, Any] = read_json(path)
            backup = record["backup"]
            return cls(Path(record["live"]), None if backup is None else Path(backup))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: cannot be read; the backups lie beside the live meta.json"
            ) from error

    def write(self, path: Path) -> None:
        """Write the document."""
        backup = None if self.backup is None else str(self.backup)
        write_json(path, {"live": str(self.live), "backup": backup})
