"""Where the backlog stands: read from what its chunks leave, beside a run as well as after it.

Nothing is written and no lock is kept. A chunk that has its table is done. One that has none is
counted by its journal and its checkpoint file, as far as these are of the current plan: a plan
lists only what is pending, so what an earlier one has left under the same name is to be done again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mert_backfill.errors import UserError
from mert_backfill.records.checkpoint import Checkpoint
from mert_backfill.records.chunk_list import read_chunk_names
from mert_backfill.records.journal import Outcome, read_outcomes, seconds_of
from mert_backfill.records.speed import read_speed
from mert_backfill.results import Results
from mert_backfill.system.locks import is_held
from mert_backfill.system.session import RunRecord, run_at_work
from mert_backfill.system.tables import read_jsonl, read_tsv

_RECENT_S = 600.0  # the speed of now is that of the last ten minutes
_SOON_S = 5.0  # of a run that has just begun it says nothing yet

T = TypeVar("T")


@dataclass(frozen=True)
class ChunkCounts:
    """The chunks of the current plan; None where there is none."""

    total: int | None = None
    done: int | None = None
    running: int | None = None
    waiting: int | None = None


@dataclass(frozen=True)
class TrackCounts:
    """The tracks of the current plan; `total` is the sum of the others. None where there is none.

    `done` have their vector, `failed` have none and are not tried again by the run at work.
    """

    total: int | None = None
    done: int | None = None
    failed: int | None = None
    pending: int | None = None


@dataclass(frozen=True)
class Status:
    """Where the backlog stands.

    Attributes
    ----------
    running : bool
        A run is at work.
    chunks, tracks : ChunkCounts, TrackCounts
        Those of the current plan.
    tracks_per_minute : float or None
        How fast the run at work was in the last ten minutes; of no run, how fast the last chunks
        were. None when nothing is known yet.
    seconds_left : float or None
        How long the pending tracks take at that speed.
    failures : mapping
        The failed tracks by reason.
    """

    running: bool = False
    chunks: ChunkCounts = ChunkCounts()
    tracks: TrackCounts = TrackCounts()
    tracks_per_minute: float | None = None
    seconds_left: float | None = None
    failures: Mapping[str, int] = field(default_factory=dict)

    def as_record(self) -> dict[str, Any]:
        """Return the status as it is written."""
        return asdict(self)


@dataclass(frozen=True)
class _ChunkStatus:
    """A chunk: its tracks, those that have their vector, and why others failed."""

    total: int
    done: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    is_done: bool = False

    @property
    def failed(self) -> int:
        return sum(self.failures.values())


class StatusReader:
    """Reads the status again and again; what did not change is not read again.

    Parameters
    ----------
    results : Results
        The results folder; it need not exist.
    """

    def __init__(self, results: Results) -> None:
        self._results = results
        self._kept: dict[Path, tuple[object, Any]] = {}

    def read(self, now: float | None = None) -> Status:
        """Return where the backlog stands.

        Parameters
        ----------
        now : float, optional
            The time (in seconds since 1970).
        """
        results = self._results
        run = run_at_work(results)
        try:
            names = read_chunk_names(results.plan)
            planned = results.plan.stat().st_mtime
        except (UserError, OSError):
            return Status(running=run is not None)
        chunks = {name: self._chunk(name, planned, run) for name in names}
        open_chunks = [name for name, chunk in chunks.items() if not chunk.is_done]
        held = [name for name in open_chunks if run and is_held(results.journal(name))]
        failures = sum((Counter(chunk.failures) for chunk in chunks.values()), Counter[str]())
        total = sum(chunk.total for chunk in chunks.values())
        done = sum(chunk.done for chunk in chunks.values())
        tracks = TrackCounts(total, done, failures.total(), total - done - failures.total())
        per_second = (
            self._speed_of(run, names, now or time.time())
            if run
            else self._speed_before(len(open_chunks))
        )
        return Status(
            running=run is not None,
            chunks=ChunkCounts(
                len(names), len(names) - len(open_chunks), len(held), len(open_chunks) - len(held)
            ),
            tracks=tracks,
            tracks_per_minute=None if per_second is None else round(per_second * 60, 2),
            seconds_left=_seconds_left(tracks, per_second),
            failures=dict(sorted(failures.items())),
        )

    def _chunk(self, name: str, planned: float, run: RunRecord | None) -> _ChunkStatus:
        table = self._results.tracks_table(name)
        mark = _mark(table)
        if mark is None:
            return self._open_chunk(name, planned, run)
        return self._keep(table, mark, partial(self._finished_chunk, name))

    def _finished_chunk(self, name: str) -> _ChunkStatus:
        results = self._results
        reasons = Counter(
            str(record.get("reason")) for record in read_jsonl(results.chunk_failures(name))
        )
        total = self._tracks_of(name)
        return _ChunkStatus(total, total - reasons.total(), reasons, is_done=True)

    def _open_chunk(self, name: str, planned: float, run: RunRecord | None) -> _ChunkStatus:
        total = self._tracks_of(name)
        last = {each.track_id: each for each in self._outcomes(name) if each.at >= planned}
        failures = Counter(
            each.failure.reason
            for each in last.values()
            if each.failure is not None and not _is_tried_again(each, run)
        )
        made = sum(each.failure is None for each in last.values()) + self._found(name, planned)
        return _ChunkStatus(total, min(made, total - failures.total()), failures)

    def _found(self, name: str, planned: float) -> int:
        """Return how many tracks of a chunk had their vector before it began."""
        path = self._results.checkpoint(name)
        mark = _mark(path)
        if mark is None:
            return 0
        checkpoint = self._keep(path, mark, partial(_read_checkpoint, path))
        if checkpoint is None or seconds_of(checkpoint.updated_at) < planned:
            return 0
        return checkpoint.counters["skipped_existing"]

    def _outcomes(self, name: str) -> list[Outcome]:
        path = self._results.journal(name)
        mark = _mark(path)
        return [] if mark is None else self._keep(path, mark, partial(read_outcomes, path))

    def _tracks_of(self, name: str) -> int:
        """Return how many tracks a chunk has."""
        path = self._results.chunk_file(name)
        return self._keep(path, _mark(path), partial(_count_rows, path))

    def _speed_of(self, run: RunRecord, names: Iterable[str], now: float) -> float | None:
        """Return how many tracks a second the run at work has settled of late."""
        since = max(now - _RECENT_S, seconds_of(run.started))
        settled = [
            outcome
            for name in names
            if (mark := _mark(self._results.journal(name))) and mark[0] / 1e9 >= since
            for outcome in self._outcomes(name)
            if since <= outcome.at <= now
        ]
        # the first vector came after the model was loaded, and others were at work beside it
        first = min((each.at for each in settled if each.failure is None), default=now)
        later = sum(each.at > first for each in settled)
        return later / (now - first) if later and now - first >= _SOON_S else None

    def _speed_before(self, open_chunks: int) -> float | None:
        speed, run = read_speed(self._results), RunRecord.read(self._results)
        if speed is None:
            return None
        at_a_time = max(1, min(run.chunks_at_a_time if run else 1, open_chunks))
        return 1 / speed.seconds_for(1, chunks_at_a_time=at_a_time)

    def _keep(self, path: Path, mark: object, make: Callable[[], T]) -> T:
        """Return what a file says, read again only when its mark is another one."""
        known = self._kept.get(path)
        if known is None or known[0] != mark:
            known = self._kept[path] = (mark, make())
        made: T = known[1]
        return made


def read_status(results: Results) -> Status:
    """Return where the backlog of a results folder stands; the folder need not exist."""
    return StatusReader(results).read()


def _is_tried_again(outcome: Outcome, run: RunRecord | None) -> bool:
    """Tell whether a track failed for a reason that may pass, in a run before the one at work."""
    failure = outcome.failure
    return bool(run and failure and not failure.permanent and outcome.run != run.token)


def _seconds_left(tracks: TrackCounts, per_second: float | None) -> float | None:
    if tracks.pending == 0:
        return 0.0
    if not tracks.pending or not per_second:
        return None
    return round(tracks.pending / per_second, 1)


def _mark(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file does: its time and size; None when it is not there."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _read_checkpoint(path: Path) -> Checkpoint | None:
    try:
        return Checkpoint.read(path)
    except (OSError, ValueError):
        return None


def _count_rows(path: Path) -> int:
    """Return how many tracks a chunk file lists, in a hurry where no name holds a line break."""
    try:
        data = path.read_bytes()
    except OSError:
        return 0
    if b'"' not in data:
        return max(0, data.count(b"\n") - 1)
    return len(read_tsv(path))
