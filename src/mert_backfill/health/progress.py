"""How far the library is and how fast it goes: ``audit/progress.md``, kept up while chunks run."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mert_backfill.errors import UserError, one_line
from mert_backfill.failures import ADVICE, Failure
from mert_backfill.health.counts import TrackCounters
from mert_backfill.health.failure_lists import read_failures, write_failures, write_retry_paths
from mert_backfill.health.history import HistoryEntry, read_history
from mert_backfill.records.batches import (
    Batch,
    Work,
    measure_batch,
    read_batches,
    sum_up,
    write_batches,
)
from mert_backfill.records.manifest import read_manifest
from mert_backfill.records.summary import Summary, read_summary
from mert_backfill.results import Results
from mert_backfill.system.atomic import write_text
from mert_backfill.system.locks import hold_lock
from mert_backfill.system.tables import read_jsonl
from mert_backfill.words import counted, duration, listed, local_time, percent

logger = logging.getLogger(__name__)

_DAY = timedelta(days=1)
_SPEED_OF = 20  # the newest jobs tell the speed of now
_MOST_LINES = 500
# columns of the table of runs
_COLUMNS = {
    "tracks": "tracks",
    "embedded": "with a vector",
    "open": "still to do",
    "failed": "failed",
    "quarantined": "failed for good",
}


@dataclass(frozen=True)
class Stock:
    """Where the library stands, and what was done for it.

    Attributes
    ----------
    at : datetime
        When that was so.
    tracks : TrackCounters
        The tracks of the library.
    day, in_all : Work
        What was done in the 24 hours before, and since the first run.
    seconds_left : float or None
        How long what is still to do takes at the speed of the last jobs; None when unknown.
    """

    at: datetime
    tracks: TrackCounters
    day: Work
    in_all: Work
    seconds_left: float | None


def take_stock(
    tracks: TrackCounters, batches: Sequence[Batch], now: datetime | None = None
) -> Stock:
    """Return what the lines of all jobs tell, beside the counters of the tracks."""
    at = now or datetime.now(UTC)
    recent = sum_up(batches[-_SPEED_OF:])
    left = recent.seconds_for(tracks.open) if tracks.open else None
    return Stock(at, tracks, sum_up(batches, at - _DAY), sum_up(batches), left)


def write_progress(
    results: Results,
    history: Sequence[HistoryEntry],
    *,
    tracks: TrackCounters | None = None,
    now: datetime | None = None,
) -> None:
    """Write ``progress.md``.

    Parameters
    ----------
    results : Results
        The results folder.
    history : sequence of HistoryEntry
        The audits, oldest first.
    tracks : TrackCounters, optional
        The tracks now, while a run is at work; by default those of the last audit.
    now : datetime, optional
        The time of the page.
    """
    batches = read_batches(results)
    stock = take_stock(tracks or history[-1].library.now, batches, now)
    last = history[-1].when if history else ""
    since = [batch for batch in batches if tracks and batch.at[:19] > last[:19]]
    parts = [
        "# Progress",
        *_standing(stock),
        *_work(stock),
        *(["## Runs", "One line a run that changed something.", _runs(history)] if history else []),
        *(["## Chunks since the last run ended", _chunks(since)] if since else []),
    ]
    write_text(results.progress_page, "\n\n".join(parts) + "\n")


def note_chunk(results: Results, chunk: str, began: datetime) -> None:
    """Bring failures and progress up to date when a job of a chunk ends, well or not.

    Several jobs may end at once. What goes wrong here does no harm: the audit makes all of it anew.

    Parameters
    ----------
    results : Results
        The results folder.
    chunk : str
        The chunk.
    began : datetime
        When its job began.
    """
    try:
        with hold_lock(results.lists_lock):
            now = datetime.now(UTC)
            batches = read_batches(results)
            at, seconds = now.isoformat(timespec="microseconds"), (now - began).total_seconds()
            batch = measure_batch(results, chunk, batches, at=at, seconds=seconds)
            if batch.settled:
                batches.append(batch)
                write_batches(results, batches)
            failures = _renew_failures(results, chunk)
            tracks = _count_tracks(results, read_summary(results.summary), batches, failures)
            write_progress(results, read_history(results.history), tracks=tracks, now=now)
    except UserError as error:  # a full disk, say: the chunk, or the audit, tells it
        logger.debug("%s", error)
    except Exception as error:  # whatever it is, the chunk is done
        logger.warning(
            "%s: progress.md and failures.tsv wait for the end of the run: %s",
            chunk,
            one_line(error),
        )


def _renew_failures(results: Results, chunk: str) -> list[Failure]:
    """Put a chunk's failures into the lists in the place of what they said of its tracks."""
    before = read_failures(results.failures) if results.failures.exists() else []
    known = {failure.track_id: failure for failure in before}
    for track in read_manifest(results.chunk_file(chunk)):
        known.pop(track.track_id, None)
    for record in read_jsonl(results.chunk_failures(chunk)):
        failure = Failure.from_record(record)
        known[failure.track_id] = failure
    failures = list(known.values())
    if failures != before or not results.failures.exists():
        write_failures(results.failures, failures)
        write_retry_paths(results.retry_paths, failures)
    return failures


def _count_tracks(
    results: Results, summary: Summary, batches: Iterable[Batch], failures: Sequence[Failure]
) -> TrackCounters:
    """Return what the tracks are by the last scan and what was done since."""
    scanned = datetime.fromtimestamp(os.stat(results.summary).st_mtime, UTC)
    done = sum_up(batches, scanned)
    counts = summary.counts
    tracks = counts["audio_files_found"] - counts["junk_files_total"]
    embedded = min(tracks, counts["already_embedded_total"] + done.embedded + done.reused)
    lasting = sum(failure.permanent for failure in failures)
    passing = len(failures) - lasting
    left = max(0, tracks - embedded - lasting - passing)
    return TrackCounters(tracks, embedded, passing, lasting, left)


def _standing(stock: Stock) -> list[str]:
    tracks = stock.tracks
    if not tracks.tracks:
        return ["No tracks."]
    failed = tracks.failed + tracks.quarantined
    told = [
        f"**{tracks.embedded:,} of {counted(tracks.tracks, 'track')} have a vector "
        f"({percent(tracks.embedded, tracks.tracks)})**",
        *([f"{tracks.open:,} still to do"] if tracks.open else []),
        *([f"{failed:,} failed"] if failed else []),
    ]
    lines = [f"{local_time(stock.at.isoformat())}: {', '.join(told)}."]
    if stock.seconds_left is not None:
        lines.append(f"About {duration(stock.seconds_left)} left at the speed of the last chunks.")
    return lines


def _work(stock: Stock) -> list[str]:
    rows = work_rows(stock)
    if not rows:
        return []
    lines = [f"| | since {since_when(stock)} | in all |", "| --- | ---: | ---: |"]
    lines += [f"| {what} | {of_day} | {in_all} |" for what, of_day, in_all in rows]
    return ["## Done", "\n".join(lines)]


def since_when(stock: Stock) -> str:
    """Return when the day before began."""
    return local_time((stock.at - _DAY).isoformat())


def work_rows(stock: Stock) -> list[tuple[str, str, str]]:
    """Return what was done, in the day before and in all; what never was is left out."""
    day, in_all = stock.day, stock.in_all
    counts = [
        ("tracks embedded", day.embedded, in_all.embedded),
        ("took the vector of the same sound", day.reused, in_all.reused),
        *(
            (f"failed: {_meaning(reason)}", day.failed.get(reason, 0), count)
            for reason, count in in_all.failed.items()
        ),
    ]
    rows = [(what, _number(of_day), _number(all_)) for what, of_day, all_ in counts if all_]
    times = [duration(work.seconds) if work.seconds else "" for work in (day, in_all)]
    return [*rows, ("time at work", times[0], times[1])] if rows else []


def _runs(history: Sequence[HistoryEntry]) -> str:
    lines = [
        f"| when | {' | '.join(_COLUMNS.values())} | rows of meta.json |",
        f"| --- |{' ---: |' * (len(_COLUMNS) + 1)}",
    ]
    older, shown = history[:-_MOST_LINES], history[-_MOST_LINES:]
    before = older[-1].library.now if older else history[0].library.before
    for entry in shown:
        now, was = entry.library.now.as_record(), before.as_record()
        cells = [_change(now[name], now[name] - was[name]) for name in _COLUMNS]
        cells.append(_change(entry.counters.tracks_total, entry.difference.tracks_total))
        lines.append(f"| {local_time(entry.when)} | {' | '.join(cells)} |")
        before = entry.library.now
    return "\n".join(lines)


def _chunks(batches: Sequence[Batch]) -> str:
    lines = [
        "| when | chunk | embedded | same sound | failed | time |",
        "| --- | --- | ---: | ---: | --- | ---: |",
    ]
    for batch in batches[-_MOST_LINES:]:
        cells = [
            local_time(batch.at),
            batch.chunk,
            _number(batch.embedded),
            _number(batch.reused),
            listed(batch.failed),
            duration(batch.seconds),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _meaning(reason: str) -> str:
    meaning, _ = ADVICE.get(reason, ("", ""))
    return f"{meaning} ({reason})" if meaning else reason


def _change(count: int, difference: int) -> str:
    return " ".join(filter(None, [_number(count), f"({difference:+,d})" if difference else ""]))


def _number(count: int) -> str:
    return f"{count:,}" if count else ""
