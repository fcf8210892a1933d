"""Where the backlog stands: counted from what chunks leave, and told."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from mert_backfill.failures import Reason, TrackError
from mert_backfill.health import status as status_module
from mert_backfill.health.status import (
    ChunkCounts,
    Status,
    StatusReader,
    TrackCounts,
    read_status,
)
from mert_backfill.health.status_words import (
    progress_line,
    run_result,
    status_lines,
    stopped,
    unfinished,
)
from mert_backfill.records.journal import JournalWriter, seconds_of
from mert_backfill.records.speed import Speed, measure_speeds, read_speed
from mert_backfill.records.standing import Standing
from mert_backfill.results import Results
from mert_backfill.system.locks import lock_file
from mert_backfill.system.session import RunRecord, run_at_work, start_run
from mert_backfill.words import duration, percent
from mert_backfill_snakemake.cli import main
from support.fakes import a_failure
from support.jobs import Workflow
from support.libraries import Library

BAD = TrackError("decode", Reason.TOO_SHORT, "26 samples")
SHAKY = TrackError("decode", Reason.IO_ERROR, "bad sector")
NAMES = ["a.mp3", "b.mp3", "c.mp3", "d.mp3", "e.mp3"]
STARTED = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def work(tmp_path: Path) -> Workflow:
    """Return five tracks, planned in chunks of two."""
    library = Library(tmp_path)
    library.add(*NAMES)
    work = Workflow(library)
    work.start()
    return work


@contextmanager
def at_work(results: Results, token: str = "now") -> Iterator[None]:
    """Hold the lock of a run."""
    record = RunRecord(os.getpid(), "here", STARTED, token, 2)
    results.run_lock.parent.mkdir(parents=True, exist_ok=True)
    results.run_lock.write_text(json.dumps(asdict(record)))
    with results.run_lock.open() as lock:
        assert lock_file(lock.fileno(), results.run_lock)
        yield


def counts(status: Status) -> tuple[Any, ...]:
    """Return the tracks in their order, and the failures."""
    return (*asdict(status.tracks).values(), dict(status.failures))


def test_nothing_is_known_without_a_plan(tmp_path: Path) -> None:
    found = read_status(Results(tmp_path / "none"))
    assert found.as_record() == {
        "running": False,
        "chunks": {"total": None, "done": None, "running": None, "waiting": None},
        "tracks": {"total": None, "done": None, "failed": None, "pending": None},
        "tracks_per_minute": None,
        "seconds_left": None,
        "failures": {},
    }
    assert not (tmp_path / "none").exists()
    assert progress_line(found) == ""
    assert status_lines(found)[0] == "no run is at work"


def test_finished_chunks_and_those_that_wait(work: Workflow) -> None:
    first, *_ = names = work.open_chunks(work.plan())
    results = work.library.results
    assert counts(read_status(results)) == (5, 0, 0, 5, {})
    work.embed(first, {"b.mp3": BAD})
    found = read_status(results)
    assert counts(found) == (5, 1, 1, 3, {"too_short": 1})
    assert found.chunks == ChunkCounts(3, 1, 0, 2)
    for name in names[1:]:
        work.embed(name)
    found = read_status(results)
    assert counts(found) == (5, 4, 1, 0, {"too_short": 1})
    assert (found.chunks, found.seconds_left) == (ChunkCounts(3, 3, 0, 0), 0.0)


def test_a_chunk_that_is_at_work_counts_track_by_track(work: Workflow) -> None:
    first, _, last = work.plan()
    results = work.library.results
    row = {"track_id": work.library.id("a.mp3"), "pcm_sha256": "x"}
    with at_work(results), JournalWriter(results.journal(first)) as journal:
        reader = StatusReader(results)
        assert reader.read().chunks == ChunkCounts(3, 0, 1, 2)
        journal.append("embedded", row=row, profile="p", at="2099-01-01T00:00:00+00:00")
        assert counts(reader.read()) == (5, 1, 0, 4, {})
        failed = a_failure(work.library.id("b.mp3"), timestamp="2099-01-01T00:00:00+00:00")
        journal.append("failed", failure=failed.as_record(), run="now")
        assert counts(reader.read()) == (5, 1, 1, 3, {"not_audio": 1})
    found = read_status(results)
    assert (found.running, found.chunks) == (False, ChunkCounts(3, 0, 0, 3))
    assert counts(found) == (5, 1, 1, 3, {"not_audio": 1})
    os.utime(results.plan, (4.2e9, 4.2e9))  # planned again: what was done before is pending
    assert counts(read_status(results)) == (5, 0, 0, 5, {})
    assert last in work.plan()


def test_what_is_tried_again_is_pending_as_long_as_the_run_lasts(work: Workflow) -> None:
    first, *_ = work.plan()
    results = work.library.results
    failure = a_failure(
        work.library.id("a.mp3"),
        reason="io_error",
        permanent=False,
        timestamp="2099-01-01T00:00:00+00:00",
    )
    with JournalWriter(results.journal(first)) as journal:
        journal.append("failed", failure=failure.as_record(), run="before")
    assert counts(read_status(results)) == (5, 0, 1, 4, {"io_error": 1})
    with at_work(results, "now"):
        assert counts(read_status(results)) == (5, 0, 0, 5, {})
    with at_work(results, "before"):
        assert counts(read_status(results)) == (5, 0, 1, 4, {"io_error": 1})


def test_tracks_that_had_their_vector_before_are_done(work: Workflow) -> None:
    first, *_ = work.plan()
    job = work.library.planned(first)
    work.embed(first)
    job.results.tracks_table(first).unlink()
    job.journal.unlink()
    work.embed(first)  # finds both in the store
    job.results.tracks_table(first).unlink()
    assert counts(read_status(work.library.results))[:2] == (5, 2)


def test_names_with_line_breaks_are_one_track_each(tmp_path: Path) -> None:
    library = Library(tmp_path)
    library.add("a.mp3", "two\nlines.mp3", 'quo"te.mp3')
    work = Workflow(library, size=5)
    work.start()
    assert read_status(library.results).tracks == TrackCounts(3, 0, 0, 3)


def test_the_speed_of_a_run_is_that_of_its_last_minutes(work: Workflow) -> None:
    first, *_ = work.plan()
    results, start = work.library.results, seconds_of(STARTED)
    os.utime(results.plan, (start - 10, start - 10))
    with JournalWriter(results.journal(first)) as journal:
        for name, second in (("a.mp3", 20), ("b.mp3", 50)):
            row = {"track_id": work.library.id(name), "pcm_sha256": "x"}
            journal.append("embedded", row=row, profile="p", at=f"2026-01-01T00:00:{second}+00:00")
    with at_work(results):
        reader = StatusReader(results)
        found = reader.read(start + 50)
        assert (found.tracks_per_minute, found.seconds_left) == (2.0, 90.0)
        assert progress_line(found) == "2 of 5 tracks done, 2 per minute, about 90 s left".replace(
            "90 s", duration(90)
        )
        assert reader.read(start + 22).tracks_per_minute is None  # too soon
    assert reader.read(start + 50).tracks_per_minute is None  # no run, and no measure of before


def handed(*tracks: str, at: int) -> dict[str, Any]:
    return {"event": "begin", "tracks": [*tracks], "at": f"2026-01-01T00:00:{at:02}+00:00"}


def made(track: str, at: int, event: str = "embedded") -> dict[str, Any]:
    time = f"2026-01-01T00:00:{at:02}+00:00"
    return {"event": event, "row": {"track_id": track}, "profile": "p", "at": time}


def test_the_speed_of_before_is_that_of_each_process_without_its_start() -> None:
    lines = [
        handed(at=0), handed("a", at=10), made("a", 13), handed("b", at=13), made("b", 16),
        handed(at=30), handed("c", at=40), made("c", 42),
        handed(at=50), handed("d", at=51), made("d", 51, "reused"),  # nothing reached the model
    ]  # fmt: skip
    assert measure_speeds(lines, "p") == [Speed(2, 6.0), Speed(1, 2.0)]
    assert measure_speeds(lines, None) == [Speed(2, 6.0), Speed(1, 2.0)]
    assert measure_speeds(lines, "another") == []
    assert measure_speeds([{"event": "begin", "tracks": ["a"]}, made("a", 3)], "p") == []
    assert measure_speeds([{"event": "begin", "tracks": ["a"], "at": 3}], "p") == []


def test_chunks_at_a_time_count_and_no_more_than_there_are(work: Workflow) -> None:
    first, *_ = work.plan()
    results = work.library.results
    assert read_speed(results) is None
    with JournalWriter(results.calibration_work.journal("calibration-canonical")) as journal:
        for line in (handed(at=0), handed("a", at=10), made("a", 45)):
            journal.append(**line)
    assert read_speed(results) == Speed(1, 35.0)
    with JournalWriter(results.journal(first)) as journal:
        for line in (handed(at=0), handed("a", at=10), made("a", 20)):
            journal.append(**line)
    assert read_speed(results) == Speed(1, 10.0)
    with at_work(results):
        pass
    assert read_status(results).tracks_per_minute == 12.0  # two at a time
    assert read_status(results).seconds_left == 25.0
    speed = Speed(1, 10.0)
    assert speed.seconds_for(13_000, chunks_at_a_time=2) == 65_000


# --- a run that is at work


def test_who_looks_does_not_stand_in_the_way(tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    assert run_at_work(results) is None
    with at_work(results):
        assert run_at_work(results) == RunRecord(os.getpid(), "here", STARTED, "now", 2)
    assert run_at_work(results) is None
    results.run_lock.write_text("{")
    assert run_at_work(results) is None


def test_a_run_waits_for_who_only_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(tmp_path / "results")
    results.state.mkdir(parents=True)
    results.run_lock.touch()
    looking = results.run_lock.open()
    lock_file(looking.fileno(), results.run_lock, shared=True)
    monkeypatch.setattr("mert_backfill.system.locks.time.sleep", lambda _: looking.close())
    monkeypatch.setattr("mert_backfill.system.session.held", [])
    monkeypatch.setenv("MERT_BACKFILL_RUN", "")
    start_run(results, chunks_at_a_time=2)
    record = RunRecord.read(results)
    assert record is not None
    assert (record.pid, record.chunks_at_a_time) == (os.getpid(), 2)


def test_without_locks_a_run_is_at_work_while_its_process_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results(tmp_path / "results")
    with at_work(results):
        pass
    monkeypatch.setattr("mert_backfill.system.session.is_held", lambda _: None)
    assert run_at_work(results) is None  # on another machine
    monkeypatch.setattr("mert_backfill.system.session.socket.gethostname", lambda: "here")
    assert run_at_work(results) is not None


# --- words


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0 s"), (89, "89 s"), (90, "2 min"), (960, "16 min"), (5400, "1 h 30 min"),
        (7200, "2 h"), (388_800, "4 days 12 h"), (172_800, "2 days"),
    ],
)  # fmt: skip
def test_times_are_said_as_people_say_them(seconds: float, told: str) -> None:
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("part", "told"), [(0, "0 %"), (1, "1 %"), (500, "50 %"), (999, "99 %"), (1000, "100 %")]
)
def test_all_and_none_are_said_of_all_and_none(part: int, told: str) -> None:
    assert percent(part, 1000) == told


def test_the_status_in_words() -> None:
    found = Status(
        True,
        ChunkCounts(26, 3, 2, 21),
        TrackCounts(13_000, 1_612, 3, 11_385),
        2.134,
        388_800.0,
        {"not_audio": 1, "too_short": 2},
    )
    assert progress_line(found) == (
        "1,612 of 13,000 tracks done, 3 failed, 2.13 per minute, about 4 days 12 h left"
    )
    assert status_lines(found) == [
        "a run is at work",
        "tracks: 1,612 of 13,000 done (12 %), 3 failed (2 too_short, 1 not_audio), 11,385 to do",
        "chunks: 3 of 26 done, 2 running, 21 waiting",
        "2.13 per minute, about 4 days 12 h left",
    ]
    assert unfinished(found) == (
        "Not finished: 1,612 of 13,000 tracks done, 23 chunks left open, see above. "
        "Go on with the same command."
    )
    assert stopped(found) == (
        "Stopped. 1,612 of 13,000 done, nothing lost. Go on with the same command."
    )


def test_how_a_run_ended() -> None:
    page = "results/audit/audit.md"
    standing = Standing(49, 46, {"not_audio": 1, "too_short": 2}, 1)
    assert run_result(standing, page, limit=None) == (
        "46 of 49 tracks have a vector (94 %), 3 failed (2 too_short, 1 not_audio), 1 remark; "
        "see results/audit/audit.md"
    )
    assert run_result(Standing(49, 10, {}, 0), page, limit=10) == (
        "10 of 49 tracks have a vector (20 %), 39 left for the next runs (limit is 10); "
        "see results/audit/audit.md"
    )
    assert "2 left out by" in run_result(Standing(3, 1, {}, 0), page, limit=None)
    assert "no track" in run_result(Standing(0, 0, {}, 0), page, limit=None)
    assert "see above" in unfinished(Status())
    assert stopped(None) == "Stopped. Nothing is lost. Go on with the same command."


# --- the command


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr(sys, "argv", ["mert-backfill", "status", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


def test_the_command_says_it_for_people_and_for_programs(
    work: Workflow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(work.library.folder)
    assert call(monkeypatch, "--directory", folder) == 0
    assert "tracks: 0 of 5 done" in capsys.readouterr().out
    assert call(monkeypatch, "--directory", folder, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == read_status(work.library.results).as_record()


def test_watching_ends_with_ctrl_c_in_silence(
    work: Workflow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    assert call(monkeypatch, "--directory", str(work.library.folder), "--watch") == 0
    printed = capsys.readouterr()
    assert printed.out.count("no run is at work") == 2
    assert printed.err == ""


def test_many_chunks_are_read_once(work: Workflow, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in work.plan():
        work.embed(name)
    reader = StatusReader(work.library.results)
    before = reader.read()
    monkeypatch.setattr(status_module, "read_jsonl", None)  # not called any more
    monkeypatch.setattr(status_module, "_count_rows", None)
    assert reader.read() == before
