"""What a fresh checkout says and does with the configuration that it comes with."""

from __future__ import annotations

import json
from pathlib import Path

from mert_backfill.demo.library import TRACKS
from support.project import Project


def test_a_preview_in_a_fresh_checkout_counts_the_demo(tmp_path: Path) -> None:
    project = Project(tmp_path)
    first = project.snakemake("-n")
    assert first.code == 0, first.output
    told = f"files found: {len(TRACKS)}, tracks pending: {len(TRACKS)}, chunks remaining: 1"
    assert told in first.output
    assert not project.results.exists()
    second = project.snakemake("-n")
    assert told in second.output
    assert "making the demo" not in second.output
    config = json.loads((tmp_path / "demo" / "mert" / "config.json").read_bytes())
    assert config["_mert_backfill_demo"] is True
