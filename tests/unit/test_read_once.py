"""Rebuilding and auditing read what they are made from once, at their doors."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mert_backfill.config import load_settings
from mert_backfill.counters import SCAN_SUMS
from mert_backfill.health.jobs import audit_library
from mert_backfill.meta.rebuild import rebuild_library
from mert_backfill.records.summary import Summary, write_summary
from mert_backfill.settings import Settings
from mert_backfill.system.tables import write_json
from support.fakes import a_profile

PROFILE = a_profile()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "music" / "Album").mkdir(parents=True)
    for name in ("a.mp3", "Album/b.mp3"):
        (tmp_path / "music" / name).touch()
    rows = {str(tmp_path / "music" / "a.mp3"): {"cues": [1]}}
    write_json(tmp_path / "data" / "meta.json", {"tracks": rows})
    config = {
        "library": {"roots": [{"name": "lib", "path": "music"}]},
        "meta": {"baseline": "data/meta.json"},
        "model": {"name": "."},
    }
    return load_settings(config, tmp_path)


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what is opened and listed below the folder, by its path there."""
    counted: Counter[str] = Counter()

    def counting(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **more: Any) -> Any:
            counted[os.path.relpath(path, tmp_path)] += 1
            return original(path, *args, **more)

        return call

    monkeypatch.setattr(Path, "read_bytes", counting(Path.read_bytes))
    monkeypatch.setattr(os, "scandir", counting(os.scandir))
    return counted


def test_a_rebuild_reads_each_input_once(settings: Settings, reads: Counter[str]) -> None:
    rebuild_library(settings, PROFILE)
    assert {name: reads[name] for name in ("data/meta.json", "music", "music/Album")} == {
        "data/meta.json": 1,
        "music": 1,
        "music/Album": 1,
    }


def test_an_audit_reads_each_input_once(settings: Settings, reads: Counter[str]) -> None:
    rebuild_library(settings, PROFILE)
    names = {name for total, parts in SCAN_SUMS for name in (total, *parts)}
    write_summary(settings.results.summary, Summary(dict.fromkeys(names, 0), {}))
    reads.clear()
    audit_library(settings, PROFILE)
    once = ("data/meta.json", "results/meta/meta.json", "results/gaps/summary.json", "music")
    assert {name: reads[name] for name in (*once, "music/Album")} == dict.fromkeys(
        (*once, "music/Album"), 1
    )
    assert json.loads(settings.results.audit.read_bytes())["current"]["tracks_total"] == 1
