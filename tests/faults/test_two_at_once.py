"""Two that want the same folder: one is refused or waits, and nothing is damaged."""

from __future__ import annotations

import fcntl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mert_backfill.chunk.progress import Progress
from mert_backfill.chunk.run import ChunkRun
from mert_backfill.records import journal
from support.checks import heard
from support.fakes import FakeEncoder, PlainDecoder
from support.jobs import make_job
from support.project import Call, Project, add_track, make_project, stopped, user_environment


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with a baseline in which a run has finished."""
    folder = tmp_path_factory.mktemp("two") / "project"
    project = make_project(folder, meta={"baseline": "data/meta.json"})
    add_track(project.music / "a.wav")
    (folder / "data").mkdir()
    (folder / "data" / "meta.json").write_text('{"tracks": {}}', encoding="utf-8")
    project.run()
    return project


@contextmanager
def started(project: Project, until: str) -> Iterator[subprocess.Popen[str]]:
    """Start a run and wait until it has printed a line that holds `until`."""
    process = subprocess.Popen(
        project.command(),
        env=user_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert any(until in line for line in process.stdout)
        yield process
    finally:
        process.kill()
        process.communicate(timeout=60)


def finish(process: subprocess.Popen[str]) -> Call:
    output, _ = process.communicate(timeout=300)
    return Call(process.returncode, output)


def test_a_second_run_is_refused(project: Project) -> None:
    """A second run in the same folder -> refused in one line, a preview is not; the first goes
    on and ends well."""
    add_track(project.music / "d.wav", seed=3)
    with started(project, until="files found: ") as run:
        with stopped(run):  # so that it is surely still there
            second = project.snakemake("--rerun-incomplete")
            preview = project.snakemake("-n")
        first = finish(run)
    assert second.code != 0
    (error,) = second.errors
    assert f"another run (process {run.pid} on " in error
    assert "Traceback" not in second.output
    assert second.jobs == []
    assert preview.code == 0
    assert "files found: 2, tracks pending: 1, chunks remaining: 1" in preview.output
    assert first.code == 0, first.output
    assert project.vector("d.wav").is_file()
    assert project.run().nothing_to_do


def test_a_publish_beside_a_run_is_refused(project: Project) -> None:
    """`snakemake publish` while a run is at work -> refused; the live meta.json stays as it is
    and the run goes on."""
    add_track(project.music / "b.wav", seed=1)
    live = project.folder / "data" / "meta.json"
    before = live.read_bytes()
    with started(project, until="files found: ") as run:
        with stopped(run):
            call = project.snakemake("publish")
        assert finish(run).code == 0
    assert call.code != 0
    assert "Traceback" not in call.output
    (error,) = call.errors
    assert f"another run (process {run.pid} on " in error
    assert call.jobs == []
    assert live.read_bytes() == before
    assert project.vector("b.wav").is_file()


def test_a_run_waits_for_the_orphans_of_a_killed_one(project: Project) -> None:
    """Jobs of a killed run are still writing -> the next run waits until they have ended, then
    goes on by itself."""
    add_track(project.music / "c.wav", seed=2)
    with open(Path(project.results, ".state", "jobs.lock"), "a") as orphan:
        fcntl.flock(orphan, fcntl.LOCK_SH)  # as every job holds it
        with started(project, until="waiting for jobs of a killed run to end") as run:
            assert not project.vector("c.wav").exists()
            fcntl.flock(orphan, fcntl.LOCK_UN)
            call = finish(run)
    assert call.code == 0, call.output
    assert project.vector("c.wav").is_file()
    assert project.run().nothing_to_do


def test_a_chunk_that_is_started_twice_is_done_once(tmp_path: Path) -> None:
    """A cluster gives up a node that is still at work, and starts its chunk on another -> the
    second waits for the first and finds all done; each track is embedded once."""
    job = make_job(tmp_path, ["a.wav", "b.wav", "c.wav"])
    ended: list[Progress] = []
    late = FakeEncoder()

    def again() -> None:
        ended.append(ChunkRun(job, lambda: late, PlainDecoder()).run())

    second = threading.Thread(target=again, daemon=True)

    with heard(journal.logger) as told:

        def start_again() -> None:
            if not second.ident:
                second.start()
                assert "another process works on this chunk" in told.get(timeout=30).getMessage()

        first = ChunkRun(job, lambda: FakeEncoder(before=start_again), PlainDecoder()).run()
    second.join(30)
    assert first.counters["succeeded"] == 3
    assert [progress.counters["skipped_checkpoint"] for progress in ended] == [3]
    assert late.windows_seen == 0
