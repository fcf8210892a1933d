"""A library of a Windows program, end to end. The steps build on each other, in this order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mert_backfill.library.paths import track_id
from support import ROOT_NAME
from support.project import Project, add_track, make_project

BASE = "C:\\Users\\dj\\"
ROWS: dict[str, dict[str, Any]] = {
    "C:\\Users\\dj\\Music\\House\\Has.wav": {
        "artist": "A",
        "bpm": 120.5,
        "embedding": "data\\embeddings\\has.npy",
    },
    "c:/users/DJ/music/HOUSE/lost.wav": {"embedding": "data\\embeddings\\gone.npy", "cues": [1]},
    "C:\\Users\\dj\\Music\\House\\No Ref.wav": {"title": "No Ref", "mytags": ["x"]},
    "D:\\Sold.mp3": {"title": "Sold"},
}


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a home folder of Windows with music, a meta.json and, in ``mert``, the project."""
    home = tmp_path_factory.mktemp("windows")
    for seed, name in enumerate(["Has.wav", "Lost.wav", "No Ref.wav", "Kõue - Uus.wav"]):
        add_track(home / "Music" / "House" / name, seed=seed)
    (home / "data" / "embeddings").mkdir(parents=True)
    np.save(home / "data" / "embeddings" / "has.npy", np.ones(64, np.float16))
    meta = {"version": 3, "tracks": ROWS, "playlists": {"x": [1]}}
    (home / "data" / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    return make_project(
        home / "mert",
        library={"roots": [{"name": ROOT_NAME, "path": "../Music"}]},
        meta={
            "baseline": "../data/meta.json",
            "path_map": [
                {"from": "C:/Users/dj/Music", "to": "../Music"},
                {"from": "C:/Users/dj", "to": ".."},
            ],
        },
    )


@pytest.fixture(scope="module")
def live(windows: Project) -> Path:
    return windows.folder.parent / "data" / "meta.json"


def windows_path(project: Project, name: str) -> str:
    """Return how Windows spells the vector of a track."""
    identity = track_id(ROOT_NAME, name)
    below = f"mert\\results\\embeddings\\{project.profile()}\\{identity[:2]}\\{identity}.npy"
    return BASE + below


def test_a_windows_baseline_comes_back_in_its_own_style(windows: Project, live: Path) -> None:
    before = live.read_bytes()
    windows.run()
    assert live.read_bytes() == before
    counts = windows.counts()
    assert counts["audio_files_found"] == 4
    assert counts["already_embedded_total"] == 1
    assert counts["pending_embedding_total"] == 3
    assert counts["missing_meta_total"] == 1
    assert counts["missing_embedding_ref_total"] == 2
    assert counts["stale_meta_paths_total"] == 1
    reasons = {row["meta_key"]: row["reason"] for row in windows.read_tsv("gaps/manifest.tsv")}
    lost, no_ref = list(ROWS)[1:3]
    assert reasons == {
        "": "missing_meta",
        lost: "embedding_file_missing",
        no_ref: "missing_embedding_ref",
    }
    meta = windows.read_json("meta/meta.json")
    assert (meta["version"], meta["playlists"]) == (3, {"x": [1]})
    new = BASE + "Music\\House\\Kõue - Uus.wav"
    assert list(meta["tracks"]) == [*ROWS, new]
    rows = meta["tracks"]
    kept = ("C:\\Users\\dj\\Music\\House\\Has.wav", "D:\\Sold.mp3")
    assert {key: rows[key] for key in kept} == {key: ROWS[key] for key in kept}
    for key in (lost, no_ref, new):
        provenance = rows[key].pop("embedding_provenance")
        assert provenance["profile"] == windows.profile()
    made = {"embedding_source": "baseline", "embedding_profile": windows.profile()}
    assert rows[lost] == {
        "embedding": windows_path(windows, "House/Lost.wav"),
        "cues": [1],
        **made,
    }
    assert rows[no_ref] == {
        **ROWS[no_ref],
        "embedding": windows_path(windows, "House/No Ref.wav"),
        **made,
    }
    assert rows[new] == {
        "artist": "Kõue",
        "title": "Uus",
        "embedding": windows_path(windows, "House/Kõue - Uus.wav"),
        **made,
    }


def test_the_audit_counts_rows_before_and_now(windows: Project) -> None:
    audit = windows.read_json("audit/audit.json")
    shown = ("tracks_total", "embedding_ok", "embedding_gap_total", "missing_embedding_ref")
    assert [audit["baseline"][name] for name in shown] == [4, 1, 3, 2]
    assert [audit["current"][name] for name in shown] == [5, 4, 1, 1]
    assert [audit["delta"][name] for name in shown] == [1, 3, -2, -1]
    assert audit["current"]["stale_track_path_total"] == 1


def test_publishing_is_refused_where_the_live_file_changed_the_same(
    windows: Project, live: Path
) -> None:
    before = live.read_bytes()
    changed = before.replace(b"gone.npy", b"back.npy")
    live.write_bytes(changed)
    call = windows.snakemake("publish")
    assert call.code != 0
    (error,) = call.errors
    assert "has changed since it was read where we changed it too" in error
    assert "back.npy" in error
    assert "Traceback" not in call.output
    assert live.read_bytes() == changed
    assert sorted(path.name for path in live.parent.glob("meta.json*")) == ["meta.json"]
    live.write_bytes(before)


def test_publishing_merges_and_unpublishing_gives_back_the_bytes(
    windows: Project, live: Path
) -> None:
    before = live.read_bytes()
    changed = before.replace(b"120.5", b"121.50")
    live.write_bytes(changed)
    assert windows.run("publish").jobs == ["publish"]
    rebuilt = (windows.results / "meta" / "meta.json").read_bytes()
    assert live.read_bytes() == rebuilt.replace(b"120.5", b"121.50")
    assert windows.run("unpublish").jobs == ["unpublish"]
    assert live.read_bytes() == changed
    assert sorted(path.name for path in live.parent.glob("meta.json*")) == ["meta.json"]
    live.write_bytes(before)


def test_publishing_keeps_a_backup(windows: Project, live: Path) -> None:
    before = live.read_bytes()
    assert windows.run("publish").jobs == ["publish"]
    assert live.read_bytes() == (windows.results / "meta" / "meta.json").read_bytes()
    (backup,) = live.parent.glob("meta.json.*.bak")
    assert backup.read_bytes() == before
    assert windows.read_json("meta/published.json") == {"live": str(live), "backup": str(backup)}
    again = windows.run("publish")  # Snakemake would find nothing to be done, and say no more
    assert again.jobs == ["publish"]
    assert "holds all of it already; nothing was written" in again.output


def test_after_publishing_nothing_is_pending(windows: Project, live: Path) -> None:
    published = live.read_bytes()
    call = windows.run()
    assert call.chunks == []
    assert windows.counts()["already_embedded_total"] == 4
    assert windows.counts()["pending_embedding_total"] == 0
    assert (windows.results / "meta" / "meta.json").read_bytes() == published == live.read_bytes()
    assert windows.run().nothing_to_do


def test_triage_tells_what_is_out_of_order_and_changes_nothing(
    windows: Project, live: Path
) -> None:
    before = live.read_bytes()
    assert windows.run("triage").jobs == ["triage"]
    triage = windows.read_json("audit/triage.json")
    assert triage["counts"]["stale_total"] == triage["counts"]["archive_remove_total"] == 1
    assert triage["samples"] == {"archive_remove": ["D:\\Sold.mp3"]}
    (row,) = windows.read_tsv("audit/triage.tsv")
    assert (row["proposal"], row["evidence"]) == ("", "nobody can look there")
    assert live.read_bytes() == before
    assert windows.run().nothing_to_do


def test_tidying_changes_meta_json_alone_and_is_taken_back(windows: Project, live: Path) -> None:
    moved = windows.folder.parent / "Music" / "Moved" / "No Ref.wav"
    moved.parent.mkdir()
    (windows.folder.parent / "Music" / "House" / "No Ref.wav").rename(moved)
    windows.run()  # the same sound: the vector is taken over
    before = (windows.results / "meta" / "meta.json").read_bytes()
    published = live.read_bytes()
    call = windows.run("tidy", "--config", "apply=relink")
    assert call.jobs == ["tidy"]
    assert "1 row relinked; undo: snakemake" in call.output
    old, new = list(ROWS)[2], BASE + "Music\\Moved\\No Ref.wav"
    rows = windows.read_json("meta/meta.json")["tracks"]
    assert old not in rows
    assert rows[new]["mytags"] == ["x"]
    assert windows.read_json("audit/audit.json")["current"]["tracks_total"] == len(rows)
    assert windows.run().nothing_to_do
    assert live.read_bytes() == published
    assert windows.run("untidy").jobs == ["untidy"]
    assert (windows.results / "meta" / "meta.json").read_bytes() == before
    assert live.read_bytes() == published
