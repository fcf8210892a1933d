"""What each job of a chunk has done: a line as soon as it ends, ``.state/batches.jsonl``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from mert_backfill.results import Results
from mert_backfill.system.tables import read_jsonl, write_jsonl


@dataclass(frozen=True)
class Batch:
    """What became of tracks since the line before of the same chunk.

    Attributes
    ----------
    chunk : str
        The chunk.
    at : str
        When its job ended: UTC, ISO 8601.
    seconds : float
        How long the job took.
    embedded, reused : int
        Tracks that got a vector of the model, or that of the same sound.
    failed : mapping
        Tracks that failed, by reason.
    """

    chunk: str
    at: str
    seconds: float
    embedded: int = 0
    reused: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)

    @property
    def settled(self) -> int:
        """All tracks of which something became."""
        return self.embedded + self.reused + sum(self.failed.values())

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Batch:
        """Read a line back.

        Raises
        ------
        AttributeError, KeyError, TypeError, ValueError
            It is none.
        """
        datetime.fromisoformat(record["at"])
        return cls(
            chunk=str(record["chunk"]),
            at=str(record["at"]),
            seconds=float(record["seconds"]),
            embedded=int(record["embedded"]),
            reused=int(record["reused"]),
            failed={str(reason): int(count) for reason, count in record["failed"].items()},
        )


def read_batches(results: Results) -> list[Batch]:
    """Return all lines, oldest first, without damaged ones; the results folder need not exist."""
    batches = []
    for record in read_jsonl(results.batches):
        try:
            batches.append(Batch.from_record(record))
        except (AttributeError, KeyError, TypeError, ValueError):
            continue
    return batches


def write_batches(results: Results, batches: Sequence[Batch]) -> None:
    """Write all lines."""
    write_jsonl(results.batches, map(asdict, batches))


def measure_batch(
    results: Results, chunk: str, earlier: Iterable[Batch], *, at: str, seconds: float
) -> Batch:
    """Return what a chunk's journal tells beyond the lines that there are.

    Parameters
    ----------
    results : Results
        The results folder.
    chunk : str
        The chunk.
    earlier : iterable of Batch
        All lines.
    at, seconds : str, float
        When its job ended, and how long it took.
    """
    told = max((batch.at for batch in earlier if batch.chunk == chunk), default="")
    outcomes: dict[str, str] = {}
    for record in read_jsonl(results.journal(chunk)):
        try:
            match record["event"]:
                case "embedded" | "reused" as event if record["at"] > told:
                    outcomes[record["row"]["track_id"]] = event
                case "failed" if record["failure"]["timestamp"] > told:
                    outcomes[record["failure"]["track_id"]] = (
                        f"failed {record['failure']['reason']}"
                    )
        except (KeyError, TypeError):  # a line that a power cut damaged
            continue
    counts = Counter(outcomes.values())
    embedded, reused = counts.pop("embedded", 0), counts.pop("reused", 0)
    failed = {event.removeprefix("failed "): count for event, count in sorted(counts.items())}
    return Batch(chunk, at, round(seconds, 1), embedded, reused, failed)


@dataclass(frozen=True)
class Work:
    """What several jobs have done together; `seconds` in which at least one was at work."""

    embedded: int
    reused: int
    failed: Mapping[str, int]
    seconds: float

    @property
    def settled(self) -> int:
        """All tracks of which something became."""
        return self.embedded + self.reused + sum(self.failed.values())

    def seconds_for(self, tracks: int) -> float | None:
        """Return how long as many tracks more take at this speed; None when that is unknown."""
        return tracks * self.seconds / self.settled if self.settled else None


def sum_up(batches: Iterable[Batch], since: datetime | None = None) -> Work:
    """Return what jobs that ended at or after a time have done."""
    chosen = [
        batch for batch in batches if since is None or datetime.fromisoformat(batch.at) >= since
    ]
    failed: Counter[str] = Counter()
    for batch in chosen:
        failed.update(batch.failed)
    return Work(
        sum(batch.embedded for batch in chosen),
        sum(batch.reused for batch in chosen),
        dict(failed.most_common()),
        _at_work(chosen),
    )


def _at_work(batches: Iterable[Batch]) -> float:
    """Return the seconds in which at least one job was at work: two at a time count once."""
    ends = ((datetime.fromisoformat(batch.at).timestamp(), batch.seconds) for batch in batches)
    total, until = 0.0, float("-inf")
    for begin, end in sorted((end - seconds, end) for end, seconds in ends):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total
