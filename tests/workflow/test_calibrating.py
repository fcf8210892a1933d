"""A library whose vectors another recipe made: it is found out before the first chunk."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from mert_backfill.system.tables import read_jsonl
from support import model_files as files
from support.audio_files import music, write_audio
from support.project import Project, add_track, wait_until
from support.reference import decode, reference_vector

RATE = 4000


@pytest.fixture
def padded(tmp_path: Path) -> Project:
    """Return a library of two tracks with vectors by `padded`, a short one, and a new one."""
    model = files.write_model(tmp_path / "model", **files.TINY)
    project = Project(tmp_path)
    project.music.mkdir()
    rows = {}
    for number, seconds in enumerate((80, 1, 82)):
        sound = np.concatenate([music(1, RATE, 1, seed=number + part) for part in range(seconds)])
        path = write_audio(project.music / f"{number}.wav", sound, RATE)
        np.save(tmp_path / f"{number}.npy", reference_vector(decode(str(path)), model, "padded"))
        os.utime(tmp_path / f"{number}.npy", (number * 86_400,) * 2)
        rows[str(path)] = {"embedding": f"{number}.npy", "cues": [number]}
    add_track(project.music / "new.wav")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.json").write_text(json.dumps({"tracks": rows}), encoding="utf-8")
    project.configure(
        meta={"baseline": "data/meta.json"},
        model={"name": "model"},
        calibration={"tracks": 2},
        # so that one track is behind the other when the run is killed
        runtime={"device": "cpu", "decode_workers": 1},
    )
    return project


def embedded(project: Project) -> list[str]:
    """Return what calibration has embedded, line by line of its journals."""
    folder = project.results / ".state" / "calibration" / "chunks"
    return [
        f"{path.name.split('.')[0]} {Path(record['row']['path']).name}"
        for path in sorted(folder.glob("*.journal.jsonl"))
        for record in read_jsonl(path)
        if record["event"] == "embedded"
    ]


def test_another_recipe_stops_the_run_until_it_is_accepted(padded: Project) -> None:
    process = padded.start()
    kept = padded.results / ".state" / "calibration" / "embeddings"
    wait_until(lambda: any(kept.glob("*/*/[0-9a-f]*.npy")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (padded.results / "audit" / "calibration.json").exists()

    stopped = padded.snakemake("--rerun-incomplete")
    assert "a calibration of up to 2 tracks comes first" in stopped.output
    assert stopped.code != 0
    assert stopped.chunks == []
    (error,) = stopped.errors
    assert "2 of 2 baseline vectors match padded, not canonical" in error
    lines = stopped.output.splitlines()
    (follow,) = (line for line in lines if line.startswith("1. "))
    assert follow.endswith("--config 'embedding={profile: padded}'")
    # nothing was embedded twice, in spite of the kill
    assert sorted(embedded(padded)) == [
        f"calibration-{recipe} {number}.wav"
        for recipe in ("canonical", "padded", "whole")
        for number in (0, 2)
    ]
    found = padded.read_json("audit/calibration.json")
    assert list(found) == ["profile", "model", "verdict", "rows"]
    assert (found["profile"].split("-")[0], found["verdict"]) == ("canonical", "other")
    for row, number in zip(found["rows"], (0, 2), strict=True):
        assert row["meta_key"] == row["path"] == str(padded.music / f"{number}.wav")
        assert row["recipe"] == "padded"
        assert row["distances"]["padded"] < 0.01
        assert row["distances"]["canonical"] > 0.15

    # it is remembered, and the audit keeps saying what was accepted
    accepted = padded.run("--config", "accept_calibration=true")
    assert "going on, as accept_calibration says" in accepted.output
    assert ("calibrate" in accepted.jobs, len(accepted.chunks)) == (False, 1)
    page = (padded.results / "audit" / "audit.md").read_text(encoding="utf-8")
    assert "2 of 2 baseline vectors match padded, not canonical" in page
    assert "| padded | 2 | 1970-01-01 | 1970-01-03 | 0.00 |" in page
    assert "because that was accepted" in page
    assert "| padded | calibrated baseline | 3 |" in page
    assert "| canonical | ours | 1 |" in page

    # the way that was told first; what it takes was embedded before
    follows = padded.run("--config", "embedding={profile: padded}")
    assert "2 of 2 baseline vectors match padded (largest distance 0.00)" in follows.output
    assert (follows.jobs.count("calibrate"), len(follows.chunks)) == (1, 1)
    assert len(embedded(padded)) == 6
