"""Processes that the program starts import what is meant, and nothing that lies about."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

import mert_backfill
import support
from mert_backfill.system.children import python_command, python_environment

SOURCE = str(Path(mert_backfill.__file__).parents[1])


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the current folder one that holds a tqdm.py."""
    (tmp_path / "tqdm.py").write_text("raise SystemExit('the folder of music was imported')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("inherited", ["", ":", ".", "{here}", "./:{here}:"])
def test_the_current_folder_is_not_imported_from(
    hostile: Path, monkeypatch: pytest.MonkeyPatch, inherited: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", inherited.format(here=hostile))
    path = json.loads(
        subprocess.check_output(
            python_command("support.probe"),
            env=python_environment(mert_backfill.__name__, support.__name__),
        )
    )
    assert path[0] == SOURCE
    assert {"", ".", str(hostile)}.isdisjoint(path)


def test_what_the_user_put_on_the_path_stays_behind_what_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"relative:{tmp_path}:{SOURCE}")
    assert python_environment("mert_backfill")["PYTHONPATH"] == f"{SOURCE}:{tmp_path}"


def test_a_module_that_was_not_imported_is_looked_for_by_the_interpreter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYTHONPATH")
    assert python_environment("no_such_module.part")["PYTHONPATH"] == ""
    assert python_environment()["HOME"] == os.environ["HOME"]
