"""The list of failed files that rbassist keeps, and that is kept here in the same form.

One JSON object a line, with ``path, reason, phase, first_seen, last_seen, attempts, size_bytes``.
A line that tells no path and size is passed over and counted: without its size nobody knows
whether a file is still the one that failed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from mert_backfill.errors import UserError
from mert_backfill.library.path_lists import keys_of
from mert_backfill.library.paths import PathMap, why_no_path
from mert_backfill.system.tables import parse_record, write_jsonl

_MAX_LINE_BYTES = 1 << 20  # the longest path, each of its letters escaped, and some words
_MAX_CHARACTERS = 200  # of a word; what is longer is no reason and no time


@dataclass(frozen=True)
class QuarantinedFile:
    """A line of the list.

    Attributes
    ----------
    path : str
        The file, in whatever spelling.
    reason, phase : str
        Why it failed, and at what.
    first_seen, last_seen : str
        When; UTC, ISO 8601.
    attempts : int
        How often it was tried.
    size_bytes : int
        Its size then.
    """

    path: str
    reason: str
    phase: str
    first_seen: str
    last_seen: str
    attempts: int
    size_bytes: int


@dataclass(frozen=True)
class QuarantineList:
    """The files of a list, found by file instead of by spelling.

    Attributes
    ----------
    path : Path
        Where it was read.
    sha256 : str
        Hash of the bytes that were read.
    passed_over : tuple of int
        The numbers of the lines that tell no path and size.
    """

    path: Path
    sha256: str
    passed_over: tuple[int, ...]
    _files: Mapping[str, QuarantinedFile]
    _path_map: PathMap

    def __len__(self) -> int:
        return len(self._files)

    def of_file(self, path: str, size_bytes: int) -> QuarantinedFile | None:
        """Return what is listed of a local file; None when it is not, or has another size now."""
        listed = self._files.get(self._path_map.key_of_local(path))
        return listed if listed is not None and listed.size_bytes == size_bytes else None


def read_quarantine_list(path: Path, path_map: PathMap) -> QuarantineList:
    """Read a list; of several lines of one file the last one counts.

    Raises
    ------
    UserError
        It is missing or cannot be read.
    """
    folder = os.path.dirname(os.path.abspath(path))
    files: dict[str, QuarantinedFile] = {}
    passed_over: list[int] = []
    digest = hashlib.sha256()
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{path}: meta.quarantine_file is not a file; give the list itself")
        with open(path, "rb") as file:
            for number, line in enumerate(_lines(file, digest), 1):
                listed = None if line is None else _read_line(line)
                if listed is not None:
                    files |= dict.fromkeys(keys_of(listed.path, folder, path_map), listed)
                elif line is None or line.strip():
                    passed_over.append(number)
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: there is no such file; correct meta.quarantine_file, or set it to null"
        ) from error
    except OSError as error:
        raise UserError(
            f"{path}: meta.quarantine_file cannot be read ({error.strerror}); "
            "check the path and its permissions"
        ) from error
    return QuarantineList(path, digest.hexdigest(), tuple(passed_over), files, path_map)


def write_quarantine_list(path: Path, files: Iterable[QuarantinedFile]) -> None:
    """Write a list, sorted by path."""
    write_jsonl(path, map(asdict, sorted(files, key=lambda file: file.path)))


def _lines(file: IO[bytes], digest: hashlib._Hash) -> Iterator[bytes | None]:
    """Yield the lines of a file, None for one that is too long to be any; hash all of them."""
    is_long = False
    while part := file.readline(_MAX_LINE_BYTES):
        digest.update(part)
        is_whole = part.endswith(b"\n")
        if not is_whole and len(part) == _MAX_LINE_BYTES:
            is_long = True
            continue
        yield None if is_long else part
        is_long = False
    if is_long:
        yield None


def _read_line(line: bytes) -> QuarantinedFile | None:
    record = parse_record(line)
    if record is None:
        return None
    path, size = record.get("path"), _whole_number(record.get("size_bytes"))
    if not isinstance(path, str) or not path.strip() or "\0" in path or size is None:
        return None
    if why_no_path(path) is not None:
        return None
    return QuarantinedFile(
        path=path,
        reason=_word(record, "reason") or "unknown",
        phase=_word(record, "phase"),
        first_seen=_word(record, "first_seen"),
        last_seen=_word(record, "last_seen"),
        attempts=max(1, _whole_number(record.get("attempts")) or 1),
        size_bytes=size,
    )


def _whole_number(value: object) -> int | None:
    """Return a number that is whole, not negative and no larger than a size on a disk."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**63:
        return None
    return int(value) if value == int(value) else None


def _word(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    return value[:_MAX_CHARACTERS] if isinstance(value, str) else ""
