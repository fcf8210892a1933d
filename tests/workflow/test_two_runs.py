"""Two runs in one folder at a time."""

from __future__ import annotations

import fcntl

from library import DEADLINE_S, Project, add_track, stopped, wait_until


def is_locked(project: Project) -> bool:
    try:
        with open(project.results / ".state" / "run.lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def test_the_second_is_refused_and_the_first_goes_on(project: Project) -> None:
    add_track(project.music / "New.wav")
    first = project.start()
    wait_until(lambda: is_locked(project), first)
    with stopped(first):  # so that it is surely still there
        second = project.snakemake("--rerun-incomplete")
        preview = project.snakemake("-n")
    output, _ = first.communicate(timeout=DEADLINE_S)
    assert second.code != 0
    (error,) = second.errors
    assert f"another run (process {first.pid} on " in error
    assert "Traceback" not in second.output
    assert second.jobs == []
    assert preview.code == 0
    assert "files found: 15, tracks pending: 1, chunks remaining: 1" in preview.output
    assert first.returncode == 0, output
    assert project.vector("New.wav").is_file()
    assert project.run().nothing_to_do
