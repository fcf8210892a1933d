"""Failures that may pass keep their chunk open. The steps build on each other, in this order."""

from __future__ import annotations

import json
import shutil

from mert_backfill.library.paths import track_id
from support import ROOT_NAME
from support.project import (
    DEADLINE_S,
    LATIN1,
    QUOTED,
    TAPE,
    Call,
    Project,
    add_track,
    stopped,
    wait_until,
)

NEW = ["House/Going.wav", "House/Staying.wav"]


def test_a_file_that_is_gone_fails_alone(project: Project) -> None:
    """Two new files are planned; one of them vanishes before its chunk begins."""
    for seed, name in enumerate(NEW):
        add_track(project.music / name, seed=50 + seed)
    plans = project.results / "gaps" / "chunks"
    before = set(plans.iterdir())
    logs = project.logs()
    process = project.start()
    wait_until(lambda: not before.issuperset(plans.iterdir()), process)
    with stopped(process):
        (project.music / NEW[0]).rename(project.folder / "kept.wav")
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert project.pending() == NEW
    call = Call(process.returncode, output, project.log_since(logs))
    assert call.code != 0
    (error,) = call.errors
    assert "1 of 2 tracks failed for reasons that may pass (1 file_missing)" in error
    assert "Traceback" not in call.output
    (chunk,) = {path.stem for path in plans.iterdir()} - {path.stem for path in before}
    record = json.loads((project.results / "chunks" / f"{chunk}.failed.jsonl").read_bytes())
    assert record["track_id"] == track_id(ROOT_NAME, NEW[0])
    assert (record["reason"], record["permanent"]) == ("file_missing", False)
    assert record["attempts"] == 1
    assert not project.vector(NEW[0]).exists()
    assert project.vector(NEW[1]).is_file()
    assert len(project.failures()) == 4  # the audit's lists know it already
    assert project.failures()[NEW[0]]["reason"] == "file_missing"
    progress = (project.results / "audit" / "progress.md").read_text(encoding="utf-8")
    assert f"| {chunk} | 1 |  | 1 file_missing |" in progress


def test_the_next_run_tries_it_again(project: Project) -> None:
    (project.folder / "kept.wav").rename(project.music / NEW[0])
    made = project.vector(NEW[1]).stat().st_mtime_ns
    call = project.run()
    assert "scan_library" not in call.jobs
    assert project.statuses(call.chunks) == dict.fromkeys(NEW, "embedded")
    assert project.vector(NEW[1]).stat().st_mtime_ns == made
    failures = project.failures()
    assert len(failures) == 3
    assert NEW[0] not in failures
    assert project.read_json("audit/audit.json")["current"]["quarantined_total"] == 3
    assert project.run().nothing_to_do


def test_the_same_vectors_lost_twice_are_made_twice(project: Project) -> None:
    """The same tracks are planned again, so the manifest does not change."""
    lost = [project.vector(name) for name in (QUOTED, LATIN1, TAPE)]
    for _ in range(2):
        for path in lost:
            path.unlink()
        call = project.run()
        assert set(project.statuses(call.chunks)) == {QUOTED, LATIN1, TAPE}
        assert all(path.is_file() for path in lost)
        assert "rebuild_meta" in call.jobs


def test_a_library_that_moves_in_the_middle_of_a_run(project: Project) -> None:
    """The plan names paths that are no more."""
    project.vector(TAPE).unlink()
    project.run("--until", "plan_chunks")
    shutil.move(project.music, project.folder / "disk2")
    project.configure(library={"roots": [{"name": ROOT_NAME, "path": "disk2"}]})
    call = project.run()
    assert len(call.chunks) == 1
    assert project.vector(TAPE).is_file()
    rows = project.read_json("meta/meta.json")["tracks"]
    assert len(rows) == 12
    assert all(key.startswith(str(project.folder / "disk2")) for key in rows)
