"""The job of the atlas, from a finished library to its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mert_backfill.atlas.job import make_atlas
from mert_backfill.errors import UserError
from mert_backfill.meta.rebuild import rebuild_library
from mert_backfill.records.atlas import (
    read_about,
    read_duplicates,
    read_neighbors,
    read_tracks,
    when_rebuilt,
)
from mert_backfill.records.calibration import CalibratedRow, Calibration, CalibrationMark
from mert_backfill.settings import Settings
from mert_backfill.system.tables import write_json
from support.fakes import D
from support.jobs import Workflow
from support.libraries import Library, changed


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """Return a library of four files, one of which an earlier program has embedded."""
    library = Library(tmp_path)
    library.add("old.mp3", "new.mp3")
    library.add("twin.mp3", "twin 2.mp3", content="the same")
    (tmp_path / "data" / "embeddings").mkdir(parents=True)
    np.save(tmp_path / "data" / "embeddings" / "old.npy", np.arange(1, 1 + D, dtype=np.float16))
    row = {"embedding": "data/embeddings/old.npy", "artist": "Old", "title": "Hand"}
    write_json(tmp_path / "data" / "meta.json", {"tracks": {str(library.music / "old.mp3"): row}})
    return library


@pytest.fixture
def settings(library: Library) -> Settings:
    """Return the settings of that library, after a run."""
    workflow = Workflow(library, baseline=library.folder / "data" / "meta.json", reembed="none")
    workflow.run()
    rebuild_library(workflow.settings, library.profile)
    return workflow.settings


def calibrate(library: Library, verdict: Any) -> None:
    """Leave what a calibration would."""
    key = str(library.music / "old.mp3")
    recipe = "canonical" if verdict == "match" else "unknown"
    rows = (
        [CalibratedRow(key, key, recipe, {"canonical": 0.0}, "2026-01-01")]
        if verdict != "none"
        else []
    )
    Calibration(library.profile.name, "m", verdict, tuple(rows)).write(library.results)
    baseline = str(library.folder / "data" / "meta.json")
    CalibrationMark(baseline, library.profile.name, 8, "", []).write(library.results)


def test_what_was_proved_to_be_of_the_recipe_is_in_it(library: Library, settings: Settings) -> None:
    calibrate(library, "match")
    make_atlas(settings, library.profile)
    tracks = read_tracks(library.results)
    assert {track.track_id for track in tracks} == {
        library.id(name) for name in ("old.mp3", "new.mp3", "twin.mp3", "twin 2.mp3")
    }
    assert ("Old", "Hand") in {(track.artist, track.title) for track in tracks}
    assert {track.duration_s for track in tracks} == {3.0, None}
    assert len(read_neighbors(library.results)) == 4 * 3
    assert [row.evidence for row in read_duplicates(library.results)][1:] == ["equal sound"]
    assert json.loads(library.results.search_index_paths.read_bytes()) == [
        track.meta_key for track in tracks
    ]


@pytest.mark.parametrize("verdict", [None, "none", "unknown"])
def test_without_proof_it_is_left_out_and_counted(
    library: Library,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    verdict: str | None,
) -> None:
    if verdict is not None:
        calibrate(library, verdict)
    make_atlas(settings, library.profile)
    assert len(read_tracks(library.results)) == 3
    about = read_about(library.results)
    assert about.left_out == {"recipe_unknown": 1}
    assert about.note == library.profile.note
    assert about.meta_rebuilt == when_rebuilt(library.results) > "2020"
    assert "1 track is left out: nothing proves that its old vector is of" in caplog.text
    assert "meta.reembed: all" in caplog.text
    assert ("accept_calibration=true" in caplog.text) is (verdict != "unknown")
    accepted = changed(settings, accept=True)
    make_atlas(accepted, library.profile)
    assert len(read_tracks(library.results)) == (3 if verdict == "unknown" else 4)


def test_a_library_without_vectors_has_no_atlas(library: Library, settings: Settings) -> None:
    rows = {str(library.music / "old.mp3"): {"title": "none"}}
    write_json(library.results.meta, {"tracks": rows})
    with pytest.raises(UserError, match="no row has a usable vector of canonical-"):
        make_atlas(settings, library.profile)
