"""What Snakemake remembers of a library may be gone: what is to do is known all the same."""

from __future__ import annotations

import shutil

from support.project import Project, add_track


def test_a_new_track_is_embedded_in_copied_results(project: Project) -> None:
    project.run()  # the library is in another place than it was
    kept = project.results.rename(project.folder / "kept")
    shutil.copytree(kept, project.results, copy_function=shutil.copy)  # with new times
    shutil.rmtree(project.folder / ".snakemake")
    add_track(project.music / "House" / "New.wav")
    preview = project.run("-n")
    assert "tracks pending: 1" in preview.output
    assert "scan_library" in preview.output
    call = project.run()
    assert project.statuses(call.chunks) == {"House/New.wav": "embedded"}
    assert project.run().nothing_to_do


def test_a_change_that_a_touch_hides_is_seen(project: Project) -> None:
    add_track(project.music / "House" / "Newer.wav", seed=101)
    project.run("--touch")
    project.run("--cleanup-metadata", "results/gaps/manifest.tsv", "results/gaps/summary.json")
    call = project.run("results/gaps/plan.json")
    assert "scan_library" in call.jobs
    assert project.pending() == ["House/Newer.wav"]
