"""The journal of a chunk: what happened to each track, line by line, safe against any kill.

A line is appended *before* the vector it tells of gets its name, so that a vector in the
store always has its record; one that takes another's place is announced before, and told of
after. Lines are never changed. ``chunks/CHUNK.journal.jsonl`` holds

- ``begin``: the tracks that are handed to the model now (``tracks``), none when a process starts to
  work on the chunk; with ``at``;
- ``embedded`` and ``reused``: ``row``, the row of the track for ``CHUNK.tracks.tsv``, its tags
  (``artist``, ``title``) and the file that it was made of (``size_bytes``, ``mtime_ns``), with
  ``profile`` and ``at`` (UTC, ISO 8601);
- ``existing``: the same of a track of which only the harmony was told;
- ``replacing``: the vector of ``track_id`` under ``profile`` gives way now to one of another
  sound; of this one the line comes after the vector has its name;
- ``failed``: ``failure``, the failure record of the track, and ``run``, which tells the run in
  which it failed from others (null where that is unknown);
- ``crashed``: the model's process died while these tracks (``tracks``) were with it.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from mert_backfill.failures import Failure
from mert_backfill.system.atomic import stop_if_disk_full
from mert_backfill.system.locks import lock_file, lock_file_soon
from mert_backfill.system.tables import format_json, read_jsonl

logger = logging.getLogger(__name__)


class JournalWriter:
    """Appends events to a journal, one writer at a time.

    A second one waits: a cluster may start a chunk again while the node that it gave up still
    works on it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with stop_if_disk_full(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            self._wait_until_alone()
            self._end_cut_line()

    def append(self, event: str, *, sync: bool = True, **fields: Any) -> None:
        """Append one event; with `sync` it is on the disk when this returns."""
        line = format_json({"event": event, **fields}) + "\n"
        with stop_if_disk_full(self.path):
            data = memoryview(line.encode())
            while data:
                data = data[os.write(self._handle, data) :]
            if sync:
                os.fsync(self._handle)

    @property
    def written_ns(self) -> int:
        """When it was written last, by the clock of the disk that holds the results."""
        return os.fstat(self._handle).st_mtime_ns

    def _wait_until_alone(self) -> None:
        if not lock_file_soon(self._handle, self.path):
            logger.warning("%s: another process works on this chunk; waiting for it", self.path)
            lock_file(self._handle, self.path, wait=True)

    def _end_cut_line(self) -> None:
        """End a line that a power cut left in the middle, so that the next one stands alone."""
        size = os.fstat(self._handle).st_size
        if size and os.pread(self._handle, 1, size - 1) != b"\n":
            os.write(self._handle, b"\n")

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._handle)


@dataclass
class JournalState:
    """What a journal says, track by track."""

    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, Failure] = field(default_factory=dict)
    crashes: Counter[str] = field(default_factory=Counter)
    in_flight: tuple[str, ...] = ()


def read_journal(path: Path) -> JournalState:
    """Read a journal and replay it; see `replay`."""
    return replay(read_jsonl(path))


def replay(records: Iterable[Mapping[str, Any]]) -> JournalState:
    """Replay the lines of a journal; damaged ones are passed over, the good ones count.

    Returns
    -------
    JournalState
        `done` and `failed` hold the last outcome of each track (one of them at most),
        `crashes` how often the model's process died with a track
        that has no outcome since, and `in_flight` the tracks
        that were with it when the journal ends.
    """
    state = JournalState()
    for record in records:
        try:
            _replay(record, state)
        except (KeyError, TypeError, ValueError):
            continue
    return state


@dataclass(frozen=True)
class Outcome:
    """What became of a track, as a line of a journal tells it.

    Attributes
    ----------
    track_id : str
        The track.
    at : float
        When (in seconds since 1970).
    failure : Failure or None
        Why it has no vector; None when it has one.
    run : str or None
        Tells the run in which it failed from others; None where that is unknown.
    """

    track_id: str
    at: float
    failure: Failure | None
    run: str | None


def read_outcomes(path: Path) -> list[Outcome]:
    """Return the outcomes that a journal tells of, in its order; damaged lines are passed over."""
    return [outcome for record in read_jsonl(path) if (outcome := outcome_of(record))]


def outcome_of(record: Mapping[str, Any]) -> Outcome | None:
    """Return the outcome that a line tells of; None when it tells of none, or is damaged."""
    try:
        match record["event"]:
            case "failed":
                failure = Failure.from_record(record["failure"])
                at = seconds_of(failure.timestamp)
                return Outcome(failure.track_id, at, failure, record.get("run"))
            case "embedded" | "reused":
                return Outcome(record["row"]["track_id"], seconds_of(record["at"]), None, None)
    except (KeyError, TypeError, ValueError):
        pass
    return None


def _replay(record: Mapping[str, Any], state: JournalState) -> None:
    match record["event"]:
        case "begin":
            state.in_flight = tuple(record["tracks"])
        case "embedded" | "reused" | "existing":
            row = dict(record["row"])
            if record["event"] == "existing" and row["track_id"] in state.done:
                row = state.done[row["track_id"]] | {"seconds_harmonic": row["seconds_harmonic"]}
            state.done[row["track_id"]] = row
            state.failed.pop(row["track_id"], None)
            _settle(state, row["track_id"])
        case "failed":
            failure = Failure.from_record(record["failure"])
            state.failed[failure.track_id] = failure
            state.done.pop(failure.track_id, None)
            _settle(state, failure.track_id)
        case "crashed":
            state.crashes.update(record["tracks"])
            state.in_flight = ()


def _settle(state: JournalState, track_id: str) -> None:
    state.crashes.pop(track_id, None)  # the outcome tells of them, or came in spite of them
    state.in_flight = tuple(other for other in state.in_flight if other != track_id)


def utc_now(after: str = "") -> str:
    """Return the time now, in UTC, ISO 8601.

    Where a clock was put back, and `after` (written by this function) has not come yet, the
    moment after that: of two lines about a track the later one has to have the later time.
    """
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    if now > after:
        return now
    moment = datetime.fromisoformat(after) + timedelta(microseconds=1)
    return moment.isoformat(timespec="microseconds")


def seconds_of(time: str) -> float:
    """Return a time that `utc_now` gave, in seconds since 1970.

    Raises
    ------
    TypeError, ValueError
        It is none.
    """
    return datetime.fromisoformat(time).timestamp()
