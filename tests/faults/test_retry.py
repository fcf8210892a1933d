"""Who is tried again, and when."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mert_backfill.config import load_settings
from mert_backfill.errors import UserError
from mert_backfill.plan.chunks import write_plan
from mert_backfill.plan.scan import write_scan
from mert_backfill.records.ledger import read_ledger
from mert_backfill.records.manifest import read_manifest
from mert_backfill.records.scan_state import ScanState
from mert_backfill.settings import Settings
from mert_backfill.system.tables import read_jsonl
from support.fakes import PlainDecoder, a_profile
from support.jobs import failures, injected_environment, make_job, plan_job, run_once, statuses
from support.libraries import write_track
from support.project import Project, add_track, make_project

PROFILE = a_profile()
BAD_DECODERS = injected_environment(BAD_DECODERS="1")


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """Return a file that fails for good, beside one that is embedded, after a run."""
    write_track(tmp_path / "music" / "good.wav", 0)
    bad = tmp_path / "music" / "bad.wav"
    bad.write_bytes(b"no audio")
    run_once(plan_job(tmp_path, ["good.wav", "bad.wav"]))
    return bad


def scan(folder: Path, **changes: Any) -> tuple[dict[str, int], list[str], Settings]:
    """Scan; return the counters and the names of the tracks that are planned."""
    library = {"roots": [{"name": "lib", "path": "music"}]} | changes.pop("library", {})
    config = {"library": library, "model": {"name": "."}, **changes}
    settings = load_settings(config, folder)
    report = write_scan(settings, PROFILE, "key", "fingerprint")
    rows = read_manifest(settings.results.manifest)
    return report.counts, [Path(row.path).name for row in rows], settings


def test_a_hopeless_file_is_skipped_and_counted(tmp_path: Path, bad: Path) -> None:
    """A track failed for good -> skipped and counted as quarantined, and its chunk is done."""
    counts, planned, _ = scan(tmp_path)
    assert (counts["quarantined_total"], planned) == (1, [])
    job = plan_job(tmp_path, ["good.wav", "bad.wav"])
    run_once(job, PlainDecoder(before=lambda path: pytest.fail(f"{path} was tried again")))
    assert failures(job)["bad.wav"]["attempts"] == 1


@pytest.mark.parametrize("change", ["size", "mtime"])
def test_a_file_that_changes_is_tried_again(tmp_path: Path, bad: Path, change: str) -> None:
    """The size or mtime of a quarantined file changes -> it is tried again, counted anew."""
    if change == "size":
        bad.write_bytes(b"no audio either")
    else:
        os.utime(bad, ns=(1, 1))
    counts, planned, _ = scan(tmp_path)
    assert (counts["quarantined_total"], planned) == (0, ["bad.wav"])
    job = plan_job(tmp_path, ["bad.wav"])
    run_once(job)
    assert failures(job)["bad.wav"]["attempts"] == 1


def test_who_is_asked_for_is_tried_again(tmp_path: Path, bad: Path) -> None:
    """retry_failed=true, or paths_file names it -> it is tried once more, and attempts count."""
    (tmp_path / "list.txt").write_text("music/bad.wav\n", encoding="utf-8")
    ways: list[dict[str, Any]] = [{"retry_failed": True}, {"library": {"paths_file": "list.txt"}}]
    for attempts, changes in enumerate(ways, start=2):
        counts, planned, settings = scan(tmp_path, **changes)
        assert (counts["quarantined_total"], planned) == (0, ["bad.wav"])
        write_plan(settings, PROFILE, settings.results.plan)
        released = ScanState.read(settings.results).released
        assert list(released.values()) == [attempts - 1]
        job = plan_job(tmp_path, ["bad.wav"], released=released)
        for _ in range(2):  # the same job once more, as after an interruption: no third try
            run_once(job)
            assert failures(job)["bad.wav"]["attempts"] == attempts


def test_a_track_that_recovers_is_forgotten(tmp_path: Path, bad: Path) -> None:
    """A failed track is repaired -> it gets its vector and vanishes from the failures."""
    write_track(bad, 1)
    job = plan_job(tmp_path, ["good.wav", "bad.wav"])
    run_once(job)
    assert statuses(job)["bad.wav"] == "embedded"
    assert failures(job) == {}
    assert read_ledger(job.results).failures == {}


def test_failures_that_may_pass_keep_the_chunk_open(tmp_path: Path) -> None:
    """Tracks fail for reasons that may pass -> everything else is done, then the job fails
    with a line that counts them; attempts count up from run to run."""
    for seed, name in enumerate(["a.wav", "b.wav", "c.wav"]):
        write_track(tmp_path / "music" / name, seed)
    job = plan_job(tmp_path, ["a.wav", "b.wav", "c.wav"])
    for name in ("a.wav", "c.wav"):
        (tmp_path / "music" / name).unlink()
    for attempts in (1, 2):
        with pytest.raises(UserError, match=r"2 of 3 tracks failed .* \(2 file_missing\)"):
            run_once(job)
        assert {record["attempts"] for record in failures(job).values()} == {attempts}
        assert not (job.results.tracks_table(job.name)).exists()
    failed = read_ledger(job.results).failures.values()
    assert not any(failure.permanent for failure in failed)


def test_a_failure_that_does_not_pass_keeps_nothing_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file fails for the same reason that may pass in three runs (a bad sector, a placeholder of
    a cloud, someone else's file) -> the chunk is finished without it, meta.json, audit and report
    are made, and each run tries it again; a line says so and names exclude_file."""
    job = make_job(tmp_path, ["a.wav", "victim.wav"])
    (tmp_path / "music" / "victim.wav").unlink()
    for _ in range(2):
        with pytest.raises(UserError, match=r"in 3 runs no longer keeps .* library\.exclude_file"):
            run_once(job)
    run_once(job)
    assert "each run tries them again: list them in library.exclude_file" in caplog.text
    assert statuses(job) == {"a.wav": "embedded", "victim.wav": "failed"}
    assert failures(job)["victim.wav"]["permanent"] is False


def make_busy_project(folder: Path, times: int) -> Project:
    """Return a project with two tracks, one of which cannot be read so many times."""
    project = make_project(folder)
    for seed, name in enumerate(["good.wav", "busy.wav"]):
        add_track(project.music / name, seed=seed)
    (project.music / "busy.wav.times").write_text(str(times))
    return project


def test_snakemakes_own_retries_take_them_up(tmp_path: Path) -> None:
    """`snakemake --retries 2` and a file that cannot be read twice -> the third try of the same
    call embeds it, and no failure is left."""
    project = make_busy_project(tmp_path, times=2)
    call = project.snakemake("--retries", "2", environment=BAD_DECODERS)
    assert call.code == 0, call.output
    assert "Traceback" not in call.output
    assert len(call.errors) == 2
    assert all("1 of 2 tracks failed for reasons that may pass" in line for line in call.errors)
    (chunk,) = call.chunks
    assert project.statuses([chunk]) == dict.fromkeys(["good.wav", "busy.wav"], "embedded")
    events = read_jsonl(project.results / "chunks" / f"{chunk}.journal.jsonl")
    attempts = [event["failure"]["attempts"] for event in events if event["event"] == "failed"]
    assert attempts == [1, 2]
    assert project.failures() == {}
    assert project.run().nothing_to_do


def test_the_next_run_takes_them_up(tmp_path: Path) -> None:
    """A file that cannot be read once, without retries -> the run ends with an error; the next
    one, as typed, tries just that file."""
    project = make_busy_project(tmp_path, times=1)
    call = project.snakemake(environment=BAD_DECODERS)
    assert call.code != 0
    (error,) = call.errors
    assert "1 of 2 tracks failed for reasons that may pass (1 io_error)" in error
    made = project.vector("good.wav").stat().st_mtime_ns
    call = project.snakemake(environment=BAD_DECODERS)
    assert call.code == 0, call.output
    assert project.vector("good.wav").stat().st_mtime_ns == made
    assert project.vector("busy.wav").is_file()
    assert project.failures() == {}
