"""What runs a chunk, and what must not. The steps build on each other, in this order."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from support import REPO
from support.project import EMBEDDED, Finished, Project, add_track


def test_a_library_on_another_disk_keeps_its_vectors(finished: Finished, project: Project) -> None:
    call = project.run()
    assert call.chunks == []
    assert project.vectors() == finished.project.vectors()
    # paths are absolute, so they are written anew
    rows = project.read_json("meta/meta.json")["tracks"]
    assert set(rows) == {str(project.music / name) for name in EMBEDDED}
    assert {row["embedding"] for row in rows.values()} == {
        str(project.vector(name)) for name in EMBEDDED
    }
    assert project.read_json("audit/audit.json")["current"]["stale_track_path_total"] == 0


def test_a_new_track_is_one_chunk_of_its_own(finished: Finished, project: Project) -> None:
    add_track(project.music / "House" / "New.wav")
    assert "tracks pending: 1, chunks remaining: 1" in project.run("-n").output
    call = project.run()
    assert project.pending() == ["House/New.wav"]
    assert project.statuses(call.chunks) == {"House/New.wav": "embedded"}
    assert len(call.chunks) == 1
    assert len(project.vectors()) == 11
    assert finished.project.vectors().items() <= project.vectors().items()


def test_a_second_run_has_nothing_to_do(project: Project) -> None:
    before = {path: path.stat().st_mtime_ns for path in project.results.rglob("*.*")}
    call = project.run()
    assert call.nothing_to_do
    assert "files found: 15, tracks pending: 0, chunks remaining: 0" in call.output
    changed = [path for path, mtime in before.items() if path.stat().st_mtime_ns != mtime]
    assert [path.name for path in changed if path.parent.name != ".state"] == []


def test_speed_and_cadence_change_nothing(project: Project) -> None:
    runtime = {
        "device": "cpu",
        "precision": "bfloat16",
        "batch_size": 3,
        "decode_workers": 2,
        "track_timeout_s": 60,
    }
    project.configure(checkpointing={"every": 7}, runtime=runtime)
    assert project.run().nothing_to_do
    assert project.run("--config", "checkpoint_every=1").nothing_to_do
    project.configure()


def test_an_update_of_the_workflow_changes_nothing(project: Project, tmp_path: Path) -> None:
    for name in ("workflow", "src", "config", "profiles", "envs"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPO / name, tmp_path / name, ignore=ignore)
    shutil.copy2(REPO / "Snakefile", tmp_path)
    for script in (tmp_path / "workflow").rglob("*.[ps][ym]*"):
        script.write_text(script.read_text("utf-8") + "\n# updated\n", encoding="utf-8")
    assert project.snakemake(repo=tmp_path).nothing_to_do


def test_the_same_list_planned_again_keeps_its_chunks(project: Project) -> None:
    os.utime(project.results / "gaps" / "manifest.tsv")
    call = project.run("--forcerun", "plan_chunks")
    assert "plan_chunks" in call.jobs
    assert {"scan_library", "embed_chunk", "preflight"}.isdisjoint(call.jobs)
    assert project.run().nothing_to_do
