"""A full disk stops the run with one clear line, and loses nothing."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mert_backfill.errors import UserError
from mert_backfill.failures import Failure
from mert_backfill.health.audit import Audit, write_audit
from mert_backfill.health.counts import LibraryCounters, RowCounters, TrackCounters
from mert_backfill.health.failure_lists import write_failures, write_retry_paths
from mert_backfill.health.history import append_entry
from mert_backfill.health.rows import RowAudit
from mert_backfill.library.paths import PathMap
from mert_backfill.meta.publish import PublishInputs, publish_meta
from mert_backfill.records.journal import read_journal
from mert_backfill.records.manifest import PendingTrack, write_manifest, write_pending_paths
from mert_backfill.records.summary import Summary
from mert_backfill.results import Results
from mert_backfill.store.sidecars import SidecarStore
from mert_backfill.store.vectors import VectorState, VectorStore
from mert_backfill.system.session import start_run
from mert_backfill.system.tables import write_json
from support.fakes import FakeEncoder
from support.jobs import failures, has_vector, injected_environment, make_job, run_once, statuses
from support.project import add_track, make_project
from support.small_disk import PAGE, SmallDisk, mounted

TRACKS = [f"{number}.wav" for number in range(6)]
ROWS = [
    PendingTrack(f"{number:020x}", f"/music/{number} {'x' * 100}.mp3", "missing_meta", "", 1, 2)
    for number in range(200)
]
FAILURES = [
    Failure(row.path, row.track_id, "c", "decode", "not_audio", "e", True, 1, 1, 2, "now")
    for row in ROWS
]
# of many digits, so that the files are long
COUNTERS = RowAudit(RowCounters(*[10**4000] * 12), (), ())
LIBRARY = LibraryCounters(TrackCounters(), TrackCounters())
AUDIT = Audit(COUNTERS, COUNTERS, LIBRARY, (), {}, Summary({}, {}))
WRITERS: dict[str, Callable[[Path], object]] = {
    "manifest.tsv": lambda path: write_manifest(path, ROWS),
    "pending_embedding_paths.txt": lambda path: write_pending_paths(path, ROWS),
    "meta.json": lambda path: write_json(path, {"tracks": {row.path: {} for row in ROWS}}),
    "audit.json": lambda path: write_audit(path, AUDIT),
    "history.jsonl": lambda path: append_entry(path, AUDIT),
    "failures.tsv": lambda path: write_failures(path, FAILURES),
    "retry_paths.txt": lambda path: write_retry_paths(path, FAILURES),
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with mounted(tmp_path / "disk", "1m") as small:
        yield small


@pytest.mark.parametrize("leave", [0, 1, 3])
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_appears_whole_or_not_at_all(disk: SmallDisk, name: str, leave: int) -> None:
    """The disk is full while a manifest, list, meta, audit or history is written -> one line
    that names the file; the old one stays whole, and no partial one is left."""
    path = disk.folder / name
    for old in (None, b'{"old": 1}\n'):
        if old is not None:
            path.write_bytes(old)
        disk.fill(leave)
        with pytest.raises(UserError, match=f"{name}: the disk is full; free some space"):
            WRITERS[name](path)
        disk.free()
        assert os.listdir(disk.folder) == ([] if old is None else [name])
        assert old is None or path.read_bytes() == old
    WRITERS[name](path)
    assert len(path.read_bytes()) > 4 * 4096


@pytest.mark.parametrize("length", [1024, 4000])
def test_a_vector_appears_whole_or_not_at_all(disk: SmallDisk, length: int) -> None:
    """The disk is full while a vector is written -> no partial vector is left."""
    store = VectorStore(disk.folder / "store", length)
    disk.fill(leave=length // 2048)
    with pytest.raises(UserError, match=r"\.npy: the disk is full"):
        store.write("ab" * 10, np.ones(length))
    assert [path for path in store.folder.rglob("*") if path.is_file()] == []
    disk.free()
    store.write("ab" * 10, np.ones(length))
    assert store.state("ab" * 10) is VectorState.VALID


def test_a_sidecar_appears_whole_or_not_at_all(disk: SmallDisk) -> None:
    """The disk is full while a sidecar is written -> no partial sidecar is left."""
    store = SidecarStore("layers", disk.folder / "layers", (3, 5, 1024))
    disk.fill(leave=3)
    with pytest.raises(UserError, match=r"\.npy: the disk is full"):
        store.write("ab" * 10, np.ones(store.shape))
    assert [path for path in store.folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("leave", [0, 1, 2])
def test_a_chunk_stops_and_goes_on(tmp_path: Path, disk: SmallDisk, leave: int) -> None:
    """The disk fills up in the middle of a chunk -> it stops at once with one line and marks
    no track as failed; after space is freed it goes on with what is left."""
    job = make_job(tmp_path, TRACKS, results=Results(disk.folder / "results"))
    calls = iter(range(len(TRACKS)))
    encoder = FakeEncoder(before=lambda: disk.fill(leave) if next(calls) == 2 else None)
    with pytest.raises(UserError, match="the disk is full; free some space"):
        run_once(job, encoder=encoder)
    stopped_at = encoder.windows_seen
    assert stopped_at < len(TRACKS)
    assert read_journal(job.journal).failed == {}
    whole = [name for name in TRACKS if has_vector(job, name)]
    files = [path for path in job.store.vectors.folder.rglob("*") if path.is_file()]
    assert len(files) == len(whole) >= 2
    assert not (job.results.tracks_table(job.name)).exists()
    disk.free()
    encoder = FakeEncoder()
    run_once(job, encoder=encoder)
    assert encoder.windows_seen == len(TRACKS) - len(whole)
    assert set(statuses(job)) == set(TRACKS)
    assert failures(job) == {}


def test_a_journal_that_does_not_fit(tmp_path: Path, disk: SmallDisk) -> None:
    """The disk is full when a chunk starts -> one line that names the journal."""
    job = make_job(tmp_path, TRACKS, results=Results(disk.folder / "results"))
    disk.fill()
    with pytest.raises(UserError, match=r"journal\.jsonl: the disk is full"):
        run_once(job)
    disk.free()
    run_once(job)
    assert set(statuses(job).values()) == {"embedded"}


def test_a_journal_line_that_was_cut_is_passed_over(tmp_path: Path, disk: SmallDisk) -> None:
    """The disk is full in the middle of a journal line -> the cut line does not count."""
    job = make_job(tmp_path, TRACKS, results=Results(disk.folder / "results"))
    job.journal.parent.mkdir(parents=True)
    job.journal.write_bytes(b"\n" * 3900)  # so that the first record crosses the end of a page
    with pytest.raises(UserError, match=r"journal\.jsonl: the disk is full"):
        run_once(job, encoder=FakeEncoder(before=disk.fill))
    assert job.journal.stat().st_size == PAGE
    disk.free()
    run_once(job)
    assert len(read_journal(job.journal).done) == len(TRACKS)
    assert set(statuses(job).values()) == {"embedded"}


def test_too_few_inodes_are_a_full_disk(tmp_path: Path) -> None:
    """The disk has room but no inode left -> the same clear line."""
    with mounted(tmp_path / "disk", "1m,nr_inodes=12") as disk:
        job = make_job(tmp_path, TRACKS, results=Results(disk.folder / "results"))
        for number in range(20):
            try:
                (disk.folder / f"file {number}").touch()
            except OSError:
                break
        with pytest.raises(UserError, match="the disk is full"):
            run_once(job)


def test_publishing_to_a_full_disk(tmp_path: Path, disk: SmallDisk) -> None:
    """The disk of the live meta.json is full -> it stays as it was, without half a backup."""
    live, rebuilt = disk.folder / "meta.json", tmp_path / "rebuilt.json"
    live.write_text(json.dumps({"tracks": {}, "old": "x" * 9000}), encoding="utf-8")
    rebuilt.write_text('{"tracks": {}}', encoding="utf-8")
    before = live.read_bytes()
    sha256, base = hashlib.sha256(before).hexdigest(), tmp_path / "base.json"
    inputs = PublishInputs(rebuilt, live, base, sha256, PathMap())
    disk.fill(leave=1)
    with pytest.raises(UserError, match="the disk is full"):
        publish_meta(inputs)
    assert live.read_bytes() == before
    assert sorted(os.listdir(disk.folder)) == ["filler", "meta.json"]


def test_a_run_does_not_start_on_a_full_disk(disk: SmallDisk) -> None:
    """The disk is full when a run starts -> one line."""
    (disk.folder / ".state").mkdir()
    (disk.folder / ".state" / "run.lock").touch()
    disk.fill()
    with pytest.raises(UserError, match="the disk is full"):
        start_run(Results(disk.folder))


def test_a_log_that_does_not_fit_is_no_error(disk: SmallDisk) -> None:
    """The log file does not fit -> the message is told all the same, without a traceback."""
    program = (
        "import logging, sys\n"
        "from mert_backfill.system.logs import configure_logging\n"
        "configure_logging(sys.argv[1])\n"
        "logging.info('told')\n"
    )
    disk.fill()
    done = subprocess.run(
        [sys.executable, "-c", program, str(disk.folder / "log.txt")],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "told\n")


def test_preflight_refuses_a_small_disk_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    """The disk is too small, or full, for a whole run -> one line and no traceback; after it
    has grown the same command ends well."""
    project = make_project(tmp_path / "project")
    add_track(project.music / "a.wav")
    with mounted(project.results, "1m") as disk:
        disk.fill()
        for expected in ("the disk is full", "MiB are free, the pending tracks need about 65 MiB"):
            call = project.snakemake()
            assert call.code != 0
            assert "Traceback" not in call.output
            (error,) = call.errors
            assert expected in error
            assert call.chunks == []
            (disk.folder / "filler").unlink(missing_ok=True)
        disk.grow("100m")
        call = project.run()
        assert project.statuses(call.chunks) == {"a.wav": "embedded"}
        assert project.failures() == {}


def test_a_disk_that_fills_up_in_the_middle_of_a_run(tmp_path: Path) -> None:
    """The disk fills up while Snakemake runs its chunks -> one line, no traceback, and no track
    is marked as failed; after space is freed the same command makes just what is missing."""
    project = make_project(
        tmp_path / "project",
        chunking={"size": 6},
        runtime={"device": "cpu", "decode_workers": 1},
    )
    with mounted(project.results, "100m") as disk:
        for seed, name in enumerate(["a.wav", "b.wav", "filler.wav", "y.wav", "z.wav"]):
            add_track(project.music / name, seed=seed)
        (project.music / "filler.wav.disk").write_text(str(disk.folder))
        call = project.snakemake(environment=injected_environment(BAD_DECODERS="1"))
        assert call.code != 0
        assert "Traceback" not in call.output
        assert call.errors
        assert all("the disk is full; free some space" in error for error in call.errors)
        assert not list((project.results / "chunks").glob("*.tracks.tsv"))
        assert not list((project.results / "chunks").glob("*.failed.jsonl"))
        made = project.vectors()
        assert len(made) < 5
        disk.free()
        call = project.run("--rerun-incomplete")
        (chunk,) = call.chunks
        assert set(project.statuses([chunk]).values()) == {"embedded"}
        assert len(project.vectors()) == 5
        assert made.items() <= project.vectors().items()
        assert project.failures() == {}
        assert project.run().nothing_to_do
