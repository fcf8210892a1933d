"""``snakemake atlas`` on a finished library. The steps build on each other, in this order."""

from __future__ import annotations

import json
import os
import re

import pandas as pd
import pytest
from typer.testing import CliRunner

from mert_backfill.library.paths import track_id
from mert_backfill.records.atlas import as_unicode
from mert_backfill_snakemake.cli import app
from support import ROOT_NAME
from support.project import EMBEDDED, KICK, KICK_COPY, Project, add_track

NEW = "House/New.wav"
IDS = {name: track_id(ROOT_NAME, name) for name in (*EMBEDDED, NEW)}


def times(project: Project) -> dict[str, int]:
    """Return when each file below results/ was written that is none of the report."""
    names = [name for name in project.results_files() if "report" not in name]
    return {
        name: (project.results / name).stat().st_mtime_ns
        for name in names
        if not name.startswith("audit/charts/")
    }


def test_the_atlas_is_of_what_there_is_and_leaves_the_rest_alone(project: Project) -> None:
    add_track(project.music / NEW)
    project.run()
    before = times(project)
    add_track(project.music / "House" / "Later.wav")  # which is not looked for
    call = project.run("atlas")
    assert call.jobs == ["atlas_files", "report", "atlas"]
    assert "Made with a demo model" in call.output
    after = times(project)
    assert {name for name, time in before.items() if time != after[name]} == set()
    library = pd.read_parquet(project.results / "meta" / "library.parquet")
    assert set(library.track_id) == set(IDS.values())
    assert set(library.path) == {as_unicode(str(project.music / name)) for name in IDS}
    keys = project.read_json("index/paths.json")
    assert list(library.meta_key) == [as_unicode(key) for key in keys]
    assert library.duration_s.notna().all()
    neighbors = pd.read_parquet(project.results / "meta" / "neighbors.parquet")
    assert len(neighbors) == len(IDS) * (len(IDS) - 1)


def test_a_copy_is_a_near_duplicate(project: Project) -> None:
    kept, spare = project.read_tsv("meta/near_duplicates.tsv")
    assert {kept["path"], spare["path"]} == {str(project.music / n) for n in (KICK, KICK_COPY)}
    assert (kept["proposal"], spare["proposal"]) == ("keep", "spare")
    assert (kept["evidence"], spare["evidence"]) == ("alike in all: any will do", "equal sound")
    assert kept["spare_bytes"] == str(os.path.getsize(project.music / KICK))


def test_the_report_has_the_map(project: Project) -> None:
    page = (project.results / "audit" / "report.html").read_text(encoding="utf-8")
    (data,) = re.findall(r'<script type="application/json" id="map-data">(.*?)</script>', page)
    assert set(json.loads(data)["ids"]) == set(IDS.values())
    places = pd.read_parquet(project.results / "meta" / "map.parquet")
    assert set(places.track_id) == set(IDS.values())
    assert places[["x", "y"]].notna().all(axis=None)


def test_a_new_track_does_not_draw_the_atlas_again(project: Project) -> None:
    shown = project.run("-n").output
    assert re.search(r"^report +1$", shown, re.MULTILINE)
    assert "atlas_files" not in shown


def test_the_same_again_is_nothing_to_do(project: Project) -> None:
    assert project.run("atlas").nothing_to_do
    with (project.results / "meta" / "meta.json").open("a") as meta:
        meta.write("\n")  # as if it were rebuilt: Snakemake compares the content, too
    assert "atlas_files" in project.run("atlas", "-n").output


def test_what_sounds_like_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    result = CliRunner().invoke(app, ["similar", f"music/{KICK}", "--json", "-n", "1"])
    assert json.loads(result.stdout)["similar"][0]["track_id"] == IDS[KICK_COPY]
