"""The map in the report: what its script gets, and that the page stays shut."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest

from mert_backfill.errors import UserError, visible
from mert_backfill.health.jobs import atlas_if_any
from mert_backfill.health.report import write_report
from mert_backfill.health.report_map import COLOURS, NEAREST, map_data, read_atlas
from mert_backfill.library.roots import Root
from mert_backfill.records.atlas import AtlasTrack, read_neighbors
from mert_backfill.results import Results
from support.atlases import a_track, write_atlas
from support.report_inputs import HOSTILE, report_inputs, track

ROOTS = [Root("main", Path("/music"))]
AWKWARD = "</script><!-- \u2028 \udcff"


def shelf(count: int) -> list[AtlasTrack]:
    tracks = [a_track(f"/music/Genre {n % 12}/{n}.mp3", "Vik", f"Song {n}") for n in range(count)]
    return [a_track(f"/music{HOSTILE}", None, AWKWARD), *tracks[1:]]


@pytest.fixture
def results(tmp_path: Path) -> Results:
    results = Results(tmp_path)
    tracks = shelf(24)
    vectors = np.random.default_rng(0).standard_normal((24, 8)).astype(np.float32)
    years = [1987, 1994, *[None] * 22]
    write_atlas(results, tracks, vectors, copies=[(2, 3)], years=years)
    results.search_index_paths.parent.mkdir()
    results.search_index_paths.write_text("[]")
    return results


def test_the_map_has_names_places_and_the_nearest(results: Results) -> None:
    atlas = read_atlas(results)
    new = [track(1, track_id=atlas.tracks[5].track_id), track(2, status="failed")]
    data = map_data(atlas, ROOTS, new)
    assert data["names"][:2] == [visible(AWKWARD), "Vik – Song 1"]
    assert (data["folders"][data["folder"][7]], data["files"][7]) == ("/music/Genre 7", "7.mp3")
    assert [len(data[name]) for name in ("x", "y", "names", "ids")] == [24] * 4
    table = read_neighbors(results, data["ids"][7])[:NEAREST]
    places = data["near"][7 * NEAREST : 8 * NEAREST]
    assert [data["ids"][place] for place in places] == [other for _, other, _ in table]
    cosines = data["cosine"][7 * NEAREST : 8 * NEAREST]
    assert cosines == [round(1000 * cosine) for _, _, cosine in table]


def test_small_folders_share_a_colour(results: Results) -> None:
    groups = map_data(read_atlas(results), ROOTS, [])["groups"]
    assert [*groups] == ["folder", "year"]  # all of one format, and none of it new
    assert len(groups["folder"]["labels"]) == len(COLOURS)
    assert groups["folder"]["labels"][-1] == "others"
    assert groups["year"]["labels"] == ["1990s", "1980s", "unknown"]
    assert groups["year"]["of"][:3] == [1, 0, 2]


def test_a_page_with_a_map_stays_shut(results: Results) -> None:
    """What Vega needs runs without unsafe-eval, and no name ends the data."""
    atlas = read_atlas(results)
    write_report(results, report_inputs(roots=ROOTS, atlas=atlas))
    page = results.report.read_text(encoding="utf-8")
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert "unsafe" not in policy[0]
    (data,) = re.findall(r'<script type="application/json" id="map-data">(.*?)</script>', page)
    assert json.loads(data)["names"][0] == visible(AWKWARD)
    assert page.count("</script>") == page.count("<script") == 5
    assert len(page) < 1.5e6
    assert "those to spare take 0.0 MB" in page
    assert "Not drawn yet" not in page


def test_a_page_without_an_atlas_says_how_to_get_one(tmp_path: Path) -> None:
    results = Results(tmp_path)
    write_report(results, report_inputs())
    page = results.report.read_text(encoding="utf-8")
    assert "Not drawn yet. <code>snakemake --cores 2 atlas</code>" in page
    assert len(page) < 1e5


def test_no_run_fails_for_a_damaged_atlas(
    results: Results, caplog: pytest.LogCaptureFixture
) -> None:
    assert atlas_if_any(results) is not None
    write_atlas(Results(results.folder / "b"), shelf(9), np.eye(9, dtype=np.float32))
    Results(results.folder / "b").atlas_map.replace(results.atlas_map)
    with pytest.raises(UserError, match="not of the tracks"):
        read_atlas(results)
    results.atlas_map.write_bytes(b"PAR1")
    with caplog.at_level(logging.WARNING):
        assert atlas_if_any(results) is None
    assert "delete it and run" in caplog.text
    results.atlas_map.unlink()
    assert atlas_if_any(results) is None
