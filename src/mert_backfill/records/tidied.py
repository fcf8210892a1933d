"""What ``tidy`` changed in meta.json: ``meta/tidied.jsonl``, and rows that left it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mert_backfill.errors import UserError
from mert_backfill.hints import command
from mert_backfill.library.meta_text import members_of, without_spaces
from mert_backfill.system.atomic import write_text
from mert_backfill.system.tables import format_json

What = Literal["relink", "merge", "archive"]
WHATS: tuple[What, ...] = ("merge", "relink", "archive")  # in the order in which they are done


@dataclass(frozen=True)
class TidyChange:
    """A change of one row: a line of ``tidied.jsonl``. Rows and values are JSON, as written.

    Attributes
    ----------
    change : str
        ``relink``, ``merge`` or ``archive``.
    meta_key : str
        The row that is no more under this key.
    target : str
        The key under which it, or what it held, is now; empty of one that was archived.
    evidence : str
        What spoke for it.
    at : str
        When it was asked for: UTC, ISO 8601.
    before, after : mapping
        Every row that took part, by its key, and those that were left.
    places : mapping
        Which row of the file each of `before` was, counted from 0.
    left : mapping
        By the key of `before`, an object of the values that are in no row of `after`.
    """

    change: What
    meta_key: str
    target: str = ""
    evidence: str = ""
    at: str = ""
    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, int] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)

    def as_line(self) -> str:
        """Return the line."""
        values = {
            "at": format_json(self.at),
            "change": format_json(self.change),
            "meta_key": format_json(self.meta_key),
            "target": format_json(self.target),
            "evidence": format_json(self.evidence),
            "before": object_of(self.before),
            "after": object_of(self.after),
            "places": format_json(dict(self.places)),
            "left": object_of(self.left),
        }
        return object_of(values)

    @classmethod
    def from_line(cls, line: str) -> TidyChange:
        """Read a line back.

        Raises
        ------
        ValueError, TypeError, KeyError
            It is none.
        """
        texts = members_of(line.strip())
        if texts is None:
            raise TypeError("no object")
        words = ("change", "meta_key", "target", "evidence", "at")
        change, meta_key, target, evidence, at = (str(json.loads(texts[word])) for word in words)
        what = next((known for known in WHATS if known == change), None)
        if what is None:
            raise ValueError(change)
        before, after, left = (members_of(texts[name]) for name in ("before", "after", "left"))
        places = {key: int(place) for key, place in json.loads(texts["places"]).items()}
        if before is None or after is None or left is None:
            raise TypeError("no rows")
        return cls(what, meta_key, target, evidence, at, before, after, places, left)


def object_of(texts: Mapping[str, str]) -> str:
    """Return a JSON object of values that are JSON, on one line."""
    members = (f"{format_json(name)}: {without_spaces(text)}" for name, text in texts.items())
    return f"{{{', '.join(members)}}}"


def read_tidied(path: Path) -> list[TidyChange]:
    """Return the changes that a file tells of, oldest first; it need not exist.

    Raises
    ------
    UserError
        It cannot be read, or a line is damaged: rows that are nowhere else may be in it.
    """
    changes: list[TidyChange] = []
    for number, line in enumerate(_lines(path), 1):
        try:
            changes.append(TidyChange.from_line(line))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{path}: line {number} is damaged; restore the file, or move it away: meta.json "
                "then comes back as it was before it was tidied"
            ) from error
    return changes


def write_tidied(
    path: Path, changes: Sequence[TidyChange], *, like: os.stat_result | None = None
) -> None:
    """Write all changes; without any the file goes."""
    if changes:
        write_text(path, "".join(change.as_line() + "\n" for change in changes), like=like)
    else:
        path.unlink(missing_ok=True)


def tidied_mark(path: Path) -> str | None:
    """Return what tells one ``tidied.jsonl`` from another; None where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


@dataclass(frozen=True)
class ArchivedRow:
    """A row that left meta.json: a line of ``archive.jsonl``; `row` is JSON, as written."""

    meta_key: str
    row: str
    why: str
    at: str

    def as_line(self) -> str:
        """Return the line."""
        plain = {"at": self.at, "why": self.why, "meta_key": self.meta_key}
        return object_of({**{n: format_json(it) for n, it in plain.items()}, "row": self.row})


def archive_rows(
    path: Path, rows: Iterable[ArchivedRow], *, like: os.stat_result | None = None
) -> None:
    """Add rows to ``archive.jsonl``, which keeps what it holds; one that it has is not added again.

    Raises
    ------
    UserError
        It cannot be read; it is not overwritten.
    """
    lines = _lines(path)
    there = set(map(_held, lines))
    new = [row for row in rows if (row.meta_key, without_spaces(row.row)) not in there]
    if new:
        text = "".join(line + "\n" for line in [*lines, *(row.as_line() for row in new)])
        write_text(path, text, like=like)


def read_archived(path: Path) -> set[tuple[str, str]]:
    """Return the key and the row, as JSON without spaces, of all that was archived."""
    return set(map(_held, _lines(path))) - {("", "")}


def _held(line: str) -> tuple[str, str]:
    try:
        texts = members_of(line) or {}
        return str(json.loads(texts["meta_key"])), without_spaces(texts["row"])
    except (ValueError, KeyError):  # what is damaged stays, and counts as none
        return "", ""


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}), and may hold the only copy of rows; make "
            f"it readable, then run `{command()}`"
        ) from error
    return [line for line in text.split("\n") if line.strip()]
