"""One finished library, made once, of which each module takes a copy."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from dataclasses import asdict

import pytest

from support.project import Call, Finished, Project, make_library, make_project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Preview, then run; all processes of pytest-xdist share the result."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    project, notes = Project(base / "finished"), base / "finished.json"
    with open(base / "finished.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not notes.exists():
            make_library(project.music)
            make_project(project.folder)
            code = "import pathlib; pathlib.Path('RAN').touch(); raise SystemExit\n"
            (project.folder / "tqdm.py").write_text(code)  # as may lie in a folder of music
            preview = project.snakemake("-n")
            written = [str(path) for path in project.results.rglob("*")]
            run = project.snakemake()
            notes.write_text(json.dumps([asdict(preview), written, asdict(run)]), encoding="utf-8")
    seen = json.loads(notes.read_text(encoding="utf-8"))
    return Finished(project, Call(**seen[0]), seen[1], Call(**seen[2]))


@pytest.fixture(scope="module")
def project(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a copy of the finished project, one for each module."""
    return finished.project.copy(tmp_path_factory.mktemp("copy") / "project")


@pytest.fixture(scope="module")
def fresh(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with the same music and model, in which nothing ran yet."""
    folder = tmp_path_factory.mktemp("fresh") / "project"
    skip = shutil.ignore_patterns("results", ".snakemake")
    shutil.copytree(finished.project.folder, folder, symlinks=True, ignore=skip)
    return Project(folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest test, so that it does not run alone at the end."""
    items.sort(key=lambda item: "test_kills" not in item.nodeid)
