"""Progress and failures are up to date as soon as a chunk ends, whatever else goes on."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mert_backfill.errors import UserError
from mert_backfill.failures import Reason, TrackError
from mert_backfill.health.counts import LibraryCounters, RowCounters, TrackCounters
from mert_backfill.health.failure_lists import read_failures
from mert_backfill.health.history import HistoryEntry
from mert_backfill.health.progress import note_chunk, take_stock, write_progress
from mert_backfill.records.batches import Batch, read_batches, sum_up, write_batches
from mert_backfill.results import Results
from mert_backfill.words import local_time
from support.jobs import Workflow
from support.libraries import Library

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOT_AUDIO = TrackError("decode", Reason.NOT_AUDIO, "bad")
DRIVE = TrackError("stat", Reason.IO_ERROR, "bad")


def at(hours: float) -> str:
    return (NOON + timedelta(hours=hours)).isoformat(timespec="microseconds")


def page(results: Results) -> list[str]:
    return results.progress_page.read_text("utf-8").splitlines()


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path)


def test_a_finished_chunk_is_on_record_at_once(library: Library) -> None:
    library.add("a.mp3", "b.mp3", "c.mp3")
    library.add("d.mp3", content="audio of a.mp3")
    work, results = Workflow(library), library.results
    first, second = work.start()
    began = datetime.now(UTC) - timedelta(seconds=200)
    work.embed(first, {"b.mp3": NOT_AUDIO})
    note_chunk(results, first, began)
    (batch,) = read_batches(results)
    assert (batch.chunk, batch.embedded, batch.reused) == (first, 1, 0)
    assert batch.failed == {"not_audio": 1}
    assert batch.seconds >= 200
    (failure,) = read_failures(results.failures)
    assert failure.path == str(library.music / "b.mp3")
    assert failure.path in results.retry_paths.read_text()
    lines = page(results)
    assert any(
        "**1 of 4 tracks have a vector (25 %)**, 2 still to do, 1 failed." in line for line in lines
    )
    assert "About 3 min left at the speed of the last chunks." in lines
    assert lines[-1].startswith(
        f"| {local_time(batch.at)} | {first} | 1 |  | 1 not_audio | 3 min |"
    )
    assert "| tracks embedded | 1 | 1 |" in lines
    assert not any("same sound" in line and "| 0" in line for line in lines)
    work.embed(second)
    note_chunk(results, second, began)
    assert read_batches(results)[1].reused == 1
    assert read_failures(results.failures) == [failure]
    assert "| took the vector of the same sound | 1 | 1 |" in page(results)
    assert any(
        "**3 of 4 tracks have a vector (75 %)**, 1 failed." in line for line in page(results)
    )


def test_what_failed_and_then_went_well_is_no_failure_any_more(library: Library) -> None:
    library.add("a.mp3", "b.mp3")
    work, results = Workflow(library), library.results
    (chunk,) = work.start()
    began = datetime.now(UTC)
    with pytest.raises(UserError, match="1 of 2 tracks failed"):
        work.embed(chunk, {"b.mp3": DRIVE})
    note_chunk(results, chunk, began)
    assert [failure.reason for failure in read_failures(results.failures)] == ["io_error"]
    work.embed(chunk)
    note_chunk(results, chunk, began)
    assert read_failures(results.failures) == []
    told = [(batch.embedded, batch.failed) for batch in read_batches(results)]
    assert told == [(1, {"io_error": 1}), (1, {})]
    note_chunk(results, chunk, began)  # nothing new
    assert len(read_batches(results)) == 2


def test_two_chunks_that_end_at_once_lose_nothing(library: Library) -> None:
    names = [f"{number}.mp3" for number in range(8)]
    library.add(*names)
    work, results = Workflow(library), library.results
    chunks = work.start()
    assert len(chunks) == 4
    for chunk in chunks:
        work.embed(chunk, dict.fromkeys(names[::2], NOT_AUDIO))
    began = datetime.now(UTC)
    threads = [threading.Thread(target=note_chunk, args=(results, one, began)) for one in chunks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(batch.chunk for batch in read_batches(results)) == chunks
    assert len(read_failures(results.failures)) == 4


def test_whatever_goes_wrong_the_chunk_is_done(
    library: Library, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add("a.mp3")
    work, results = Workflow(library), library.results
    (chunk,) = work.start()
    work.embed(chunk)

    def stop(*_: object, **__: object) -> None:
        raise ValueError("odd")

    with monkeypatch.context() as patch:
        patch.setattr("mert_backfill.health.progress.write_progress", stop)
        note_chunk(results, chunk, NOON)
    told = "progress.md and failures.tsv wait for the end of the run: ValueError: odd"
    assert [record.levelno for record in caplog.records if told in record.message] == [
        logging.WARNING
    ]
    results.summary.unlink()  # the audit will say so
    note_chunk(results, chunk, NOON)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1


def test_time_at_work_counts_once_and_what_is_left_follows_from_it() -> None:
    batches = [
        Batch("a", at(0), 3600, embedded=50),
        Batch(
            "b", at(0.5), 3600, embedded=40, failed={"silent": 10}
        ),  # half of it beside the other
        Batch("c", at(30), 1800, reused=100),
    ]
    assert sum_up(batches).seconds == 2 * 3600
    assert sum_up(batches).settled == 200
    assert sum_up(batches, NOON + timedelta(hours=0.5)).reused == 100
    tracks = TrackCounters(tracks=1000, embedded=300, open=700)
    stock = take_stock(tracks, batches, NOON + timedelta(hours=31))
    assert (stock.day.settled, stock.in_all.settled) == (100, 200)
    assert stock.seconds_left == 700 * 7200 / 200
    assert take_stock(TrackCounters(tracks=1, embedded=1), batches).seconds_left is None
    assert take_stock(tracks, []).seconds_left is None


def test_the_page_is_short_and_in_local_time(tmp_path: Path) -> None:
    results = Results(tmp_path)
    before = TrackCounters(tracks=12, embedded=2, open=10)
    now = TrackCounters(tracks=12, embedded=9, failed=1, quarantined=1, open=1)
    rows, more = RowCounters(tracks_total=12), RowCounters(tracks_total=2)
    history = [
        HistoryEntry(at(0), rows, more, LibraryCounters(before, now)),
        HistoryEntry(at(1), rows, RowCounters(), LibraryCounters(before, now)),
    ]
    write_batches(results, [Batch("a", at(-1), 60, embedded=7)])
    write_progress(results, history, now=NOON + timedelta(days=3))
    lines = page(results)
    assert lines[-2:] == [
        f"| {local_time(at(0))} | 12 | 9 (+7) | 1 (-9) | 1 (+1) | 1 (+1) | 12 (+2) |",
        f"| {local_time(at(1))} | 12 | 9 | 1 | 1 | 1 | 12 |",
    ]
    assert "| tracks embedded |  | 7 |" in lines
    assert not any("not_audio" in line or "Chunks since" in line for line in lines)


def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    results = Results(tmp_path)
    write_batches(results, [Batch("a", at(0), 1.0, embedded=1)])
    good = results.batches.read_text()
    results.batches.write_text('{"chunk": 1}\n' + good + '{"at": "x", "chunk": "a"}\n' + good[:20])
    assert [batch.embedded for batch in read_batches(results)] == [1]
