"""Where the journals tell of a track or of a sound, found without reading all of them.

A chunk has two questions to all journals: how did my tracks fare before, and who has the sound
that I have just decoded? If each chunk read every journal, the last one of a million tracks would
read for longer than it embeds. So what was read once is kept in ``.state/journals.npz``: for each
outcome one number that stands for its track, one that stands for its sound, and the place of its
line; and for each journal how far that goes. Who opens the index reads only what the journals have
gained since. When that comes to an eighth of the index, but a mebibyte at least, it writes the
index anew: all that is ever written grows with the library, not with its square.

Why it is safe, with several chunks and nodes at a time, any of which may die at any moment:

- The journals are the truth. The index says only where to look: the line is read again, and counts
  only if it is whole and tells of what was asked for. So an index that is wrong, whatever made it
  so, never gives a wrong answer.
- What the index does not cover is read from the journals, always. An index that is missing, damaged
  (it has checksums) or of another version covers nothing, and is made again; it may be deleted at
  any time. Nothing is lost with a process that dies before it has written one.
- It appears whole or not at all, and is read in one go. Of two that write at the same time the last
  one stays, and it is a right one: each holds nothing but what its writer has read. What it lacks
  in comparison, the next reader reads.
- A journal only ever gains lines. The index keeps a hash of the last bytes that it covers: one that
  has been written to since and has other bytes there, or none (a power cut took its end, it was
  begun anew, a backup came back), is read again from its beginning.
- The end of a journal that somebody is writing to may not be whole yet, and network file systems
  show zeros where another node's bytes are on their way. The index covers a journal only up to its
  first line that is no record, and never one without its line end. What follows such a line is
  known all the same: it is read each time.

The worst that is left is not to see an outcome that another chunk has at this moment. That costs a
track that is embedded once more, to the same vector.
"""

from __future__ import annotations

import hashlib
import logging
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from mert_backfill.results import Results
from mert_backfill.system.atomic import write_atomically
from mert_backfill.system.tables import parse_record

logger = logging.getLogger(__name__)

_VERSION = 2
_WORTH_WRITING = 2**20  # bytes: the journals of some chunks, read in a hundredth of a second
_MARK_BYTES = 64

Rows: TypeAlias = "array[int]"


def _track_key(track_id: str) -> int:
    return _number(f"track {track_id}".encode("utf-8", "surrogatepass"))


def _sound_key(profile: str, pcm_sha256: str) -> int:
    return _number(f"sound {pcm_sha256} {profile}".encode("utf-8", "surrogatepass"))


def _number(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def _keys_of(record: Mapping[str, Any]) -> tuple[int, ...]:
    """Return what a line of a journal can be asked for; nothing unless it tells of an outcome."""
    try:
        match record["event"]:
            case "failed":
                return (_track_key(record["failure"]["track_id"]),)
            case "replacing":
                return (_track_key(record["track_id"]),)
            case "existing":
                return (_track_key(record["row"]["track_id"]),)
            case "embedded" | "reused":
                row = record["row"]
                sound = _sound_key(record["profile"], row["pcm_sha256"])
                return (_track_key(row["track_id"]), sound)
    except (KeyError, TypeError):
        pass
    return ()


@dataclass(frozen=True)
class _Span:
    """How far a journal is covered: up to byte `end`, when it was written last at `mtime_ns`.

    `mark` stands for the last bytes before `end`.
    """

    end: int = 0
    mark: int = _number(b"")
    mtime_ns: int = 0


@dataclass(frozen=True, eq=False)
class _Entries:
    """What can be asked for, and where it stands: columns of one length, by ascending key.

    Attributes
    ----------
    keys, journals, places : np.ndarray [shape=(n,), dtype=uint64, uint32, uint64]
        The key, the number of the journal, and where in it the line begins.
    """

    keys: np.ndarray
    journals: np.ndarray
    places: np.ndarray

    @classmethod
    def of(cls, rows: Rows) -> _Entries:
        """Return rows of key, journal and place, one after another, as columns."""
        keys, journals, places = np.array(rows, np.uint64).reshape(-1, 3).T
        return cls(keys, journals.astype(np.uint32), places)._sorted()

    def find(self, key: int) -> list[tuple[int, int]]:
        """Return journal and place of each entry with a key."""
        wanted = np.uint64(key)
        low, high = (int(np.searchsorted(self.keys, wanted, side)) for side in ("left", "right"))
        return list(
            zip(self.journals[low:high].tolist(), self.places[low:high].tolist(), strict=True)
        )

    def without(self, journals: Sequence[int]) -> _Entries:
        """Return the entries of all journals but some."""
        return self._only(~np.isin(self.journals, journals)) if journals else self

    def covered_by(self, spans: Mapping[int, _Span]) -> _Entries:
        """Return the entries whose lines some spans cover."""
        ends = np.zeros(max(spans, default=0) + 1, np.uint64)
        for number, span in spans.items():
            ends[number] = span.end
        return self._only(self.places < ends[self.journals])

    @property
    def size_bytes(self) -> int:
        """Size of the columns."""
        return self.keys.nbytes + self.journals.nbytes + self.places.nbytes

    def merged(self, other: _Entries) -> _Entries:
        """Return both in one."""
        columns = zip(
            (self.keys, self.journals, self.places),
            (other.keys, other.journals, other.places),
            strict=True,
        )
        return _Entries(*map(np.concatenate, columns))._sorted()

    def _only(self, chosen: np.ndarray) -> _Entries:
        return _Entries(self.keys[chosen], self.journals[chosen], self.places[chosen])

    def _sorted(self) -> _Entries:
        # stable: two sorted parts are merged in one pass
        order = np.argsort(self.keys, kind="stable")
        return _Entries(self.keys[order], self.journals[order], self.places[order])


@dataclass(frozen=True)
class _Kept:
    """The content of the file; `spans` are by number of the journal, `numbers` by its name."""

    entries: _Entries
    spans: Mapping[int, _Span]
    numbers: Mapping[str, int]


class JournalIndex:
    """Finds the lines of journals that tell of a track or of a sound; see `open_index`."""

    def __init__(self, paths: Sequence[Path], parts: Sequence[_Entries]) -> None:
        self._paths = paths
        self._parts = parts

    def of_track(self, track_id: str) -> Iterator[dict[str, Any]]:
        """Yield the lines that tell what became of a track or its vector, journal by journal."""
        return self._find(_track_key(track_id))

    def of_sound(self, profile: str, pcm_sha256: str) -> Iterator[dict[str, Any]]:
        """Yield the lines that tell of a vector made from a sound under a profile."""
        return self._find(_sound_key(profile, pcm_sha256))

    def _find(self, key: int) -> Iterator[dict[str, Any]]:
        found = [place for part in self._parts for place in part.find(key)]
        for journal, place in sorted(found, key=lambda at: (self._paths[at[0]].name, at[1])):
            record = _line_at(self._paths[journal], place)
            if record is not None and key in _keys_of(record):
                yield record


def open_index(results: Results, *, besides: Path | None = None) -> JournalIndex:
    """Read what is new in the journals, and return an index of all that they say.

    Parameters
    ----------
    results : Results
        The results folder; it need not exist.
    besides : Path or None
        A journal that the caller reads by itself. It is not read here; what the index knows of it
        already is found all the same.
    """
    kept = _load(results.journal_index)
    numbers = dict(kept.numbers)
    rows: Rows = array("Q")
    spans: dict[int, _Span] = {}
    outdated: list[int] = []
    for path in results.journals():
        number = numbers.setdefault(path.name, len(numbers))
        before = kept.spans.get(number, _Span())
        after = before if path == besides else _read_on(path, before, number, rows)
        if after is None:  # no longer the journal that the index covers
            outdated.append(number)
            after = _read_on(path, _Span(), number, rows)
        spans[number] = after or _Span()
    outdated += {number for number, span in kept.spans.items() if span.end} - spans.keys()
    entries, fresh = kept.entries.without(outdated), _Entries.of(rows)
    index = JournalIndex([results.chunks / name for name in numbers], (entries, fresh))
    covered = sum(span.end for number, span in kept.spans.items() if number not in outdated)
    gained = sum(span.end for span in spans.values()) - covered
    if gained > max(_WORTH_WRITING, entries.size_bytes // 8):
        whole = entries.merged(fresh.covered_by(spans))
        _save(results.journal_index, _Kept(whole, spans, numbers))
    return index


def _read_on(path: Path, before: _Span, number: int, rows: Rows) -> _Span | None:
    """Add to `rows` what a journal has gained.

    Returns
    -------
    _Span or None
        How far the journal can be covered now; None when it is no longer the one that `before`
        covers.
    """
    try:
        stat = path.stat()
        if (stat.st_size, stat.st_mtime_ns) == (before.end, before.mtime_ns):
            return before
        with open(path, "rb") as file:
            seam = max(0, before.end - _MARK_BYTES)
            file.seek(seam)
            if _number(file.read(before.end - seam)) != before.mark:
                return None
            end = _read_lines(file, before.end, number, rows)
            seam = max(0, end - _MARK_BYTES)
            file.seek(seam)
            return _Span(end, _number(file.read(end - seam)), stat.st_mtime_ns)
    except OSError:
        return None


def _read_lines(file: Iterable[bytes], start: int, number: int, rows: Rows) -> int:
    """Add to `rows` what the lines from `start` on tell; return how far all are whole."""
    place = end = start
    whole = True
    for line in file:
        record = parse_record(line)
        for key in _keys_of(record or {}):
            rows.extend((key, number, place))
        whole = whole and record is not None and line.endswith(b"\n")
        place += len(line)
        if whole:
            end = place
    return end


def _line_at(path: Path, place: int) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:
            file.seek(place)
            return parse_record(file.readline())
    except OSError:
        return None


def _load(path: Path) -> _Kept:
    """Read the index; one that is missing, damaged or of another version covers nothing."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if int(file["version"]) != _VERSION:
                raise ValueError
            entries = _Entries(file["keys"], file["journals"], file["places"])
            names = file["names"].tolist()
            spans = [_Span(*span) for span in file["spans"].tolist()]
        return _Kept(entries, dict(enumerate(spans)), {name: n for n, name in enumerate(names)})
    except Exception:  # whatever a damaged file makes of the reader
        return _Kept(_Entries.of(array("Q")), {}, {})


def _save(path: Path, kept: _Kept) -> None:
    spans = [kept.spans.get(number, _Span()) for number in range(len(kept.numbers))]

    def write(file: IO[bytes]) -> None:
        np.savez(
            file,
            version=np.array(_VERSION),
            keys=kept.entries.keys,
            journals=kept.entries.journals,
            places=kept.entries.places,
            names=np.array(list(kept.numbers)),
            spans=np.array([(span.end, span.mark, span.mtime_ns) for span in spans], np.uint64),
        )

    try:
        write_atomically(path, write)
    except OSError as error:  # it is a convenience; but a full disk stops the chunk, as anywhere
        logger.warning("%s: cannot be written (%s); chunks start slower", path, error.strerror)
