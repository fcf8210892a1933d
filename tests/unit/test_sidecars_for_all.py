"""Sidecars of tracks whose vector is the baseline's; and harmony, for which no model is needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mert_backfill.failures import Reason, TrackError
from mert_backfill.health.jobs import audit_library
from mert_backfill.meta.rebuild import rebuild_library
from mert_backfill.plan.freshness import Change
from mert_backfill.recipes import WINDOW_NAMES
from mert_backfill.records.manifest import read_manifest
from mert_backfill.records.summary import read_summary
from mert_backfill.system.tables import read_json, read_tsv, write_json
from support.fakes import D, FakeEncoder
from support.jobs import Workflow
from support.libraries import Library

BROKEN = TrackError("decode", Reason.NOT_AUDIO, "LibsndfileError: bad")


class Baseline(Library):
    """A library of which a meta.json has rows; some name a vector."""

    @property
    def path(self) -> Path:
        return self.folder / "data" / "meta.json"

    def write(self, **rows: dict[str, Any]) -> None:
        theirs = self.folder / "theirs.npy"
        np.save(theirs, np.full(D, 0.5, np.float16))
        tracks = {str(self.music / f"{name}.mp3"): row for name, row in rows.items()}
        for row in tracks.values():
            row.setdefault("embedding", str(theirs))
        write_json(self.path, {"tracks": tracks})

    def work(self, *sidecars: str, **changes: Any) -> Workflow:
        changes = {"baseline": self.path, "sidecars_for": "all"} | changes
        return Workflow(self, sidecars=sidecars, **changes)


@pytest.fixture
def library(tmp_path: Path) -> Baseline:
    library = Baseline(tmp_path)
    library.add("a.mp3", "b.mp3", "new.mp3")
    library.write(a={"bpm": 1}, b={"features": {"bass": 2}})
    return library


def finish(work: Workflow) -> dict[str, Any]:
    """Do what follows the chunks; return the rows of meta.json by the names of their files."""
    rebuild_library(work.settings, work.library.profile)
    audit_library(work.settings, work.library.profile)
    work.library.results.report.touch()
    rows = read_json(work.library.results.meta)["tracks"]
    return {os.path.basename(key): row for key, row in rows.items()}


def told(work: Workflow) -> dict[str, dict[str, str]]:
    """Return the last row of each track in the chunks' tables, by the names of their files."""
    results = work.library.results
    tables = [results.tracks_table(name) for name in results.finished_chunks()]
    tables.sort(key=lambda path: path.stat().st_mtime_ns)
    return {os.path.basename(row["path"]): row for table in tables for row in read_tsv(table)}


def statuses(work: Workflow) -> dict[str, str]:
    return {name: row["status"] for name, row in told(work).items()}


def files(library: Library) -> dict[Path, int]:
    return {path: os.stat(path).st_ino for path in library.results.embeddings.rglob("*.npy")}


def test_only_new_tracks_have_them_unless_all_is_asked_for(library: Baseline) -> None:
    work = library.work("harmonic", "sections", sidecars_for="new")
    assert work.run() == ["new.mp3"]
    rows = finish(work)
    assert "features" in rows["new.mp3"]
    assert [name for name in rows if "embedding_core" in rows[name]] == ["new.mp3"]
    before = files(library)
    work = library.work("harmonic", "sections")
    assert work.preview().change is Change.LIBRARY
    assert (work.preview().tracks_pending, work.preview().chunks_remaining) == (2, 1)
    assert work.run() == ["a.mp3", "b.mp3"]
    reasons = {os.path.basename(r.path): r.reason for r in read_manifest(library.results.manifest)}
    assert reasons == {"a.mp3": "missing_sidecar", "b.mp3": "missing_sidecar"}
    summary = read_summary(library.results.summary)
    assert summary.counts["missing_sidecar_total"] == 2
    assert len(summary.samples["missing_sidecar"]) == 2
    assert summary.counts["pending_embedding_total"] == 0
    assert summary.counts["already_embedded_total"] == 3
    assert statuses(work) == {"new.mp3": "embedded", "a.mp3": "embedded", "b.mp3": "embedded"}
    rows = finish(work)
    assert {row["embedding_version"] for row in rows.values()} == {"v2_section"}
    for name in ("a.mp3", "b.mp3"):
        assert rows[name]["embedding"] == str(library.folder / "theirs.npy")
        assert "embedding_profile" not in rows[name]
        for window in WINDOW_NAMES:
            vector = np.load(rows[name][f"embedding_{window}"], allow_pickle=False)
            assert vector.tolist() == library.vector_of(name).tolist()
    assert list(rows["b.mp3"]["features"]) == ["bass", "chroma_profile", "tonnetz_profile"]
    assert before.items() <= files(library).items()  # no file was written again
    assert work.preview().change is Change.NONE
    assert work.run() == []


def test_harmony_alone_is_told_without_the_model(library: Baseline) -> None:
    work = library.work()
    assert work.run() == ["new.mp3"]
    finish(work)
    before = files(library)
    work = library.work("harmonic")
    work.encoder = NO_ENCODER
    assert sorted(work.run()) == ["a.mp3", "b.mp3", "new.mp3"]
    assert not read_summary(library.results.summary).needs_model
    rows_told = list(told(work).values())
    assert [(row["status"], row["seconds_harmonic"]) for row in rows_told] == [
        ("existing", "0.5")
    ] * 3
    assert all(row["pcm_sha256"] and not row["device"] for row in rows_told)
    rows = finish(work)
    assert all(len(row["features"]["chroma_profile"]) == 12 for row in rows.values())
    assert rows["a.mp3"]["bpm"] == 1
    assert before.items() <= files(library).items()
    assert len(list(library.results.embeddings.glob("*/??/*.npy"))) == 1  # no vector for others
    assert (work.preview().change, work.run()) == (Change.NONE, [])
    lost = next(library.results.embeddings.glob(f"*/harmonic/*/{library.id('a.mp3')}.npy"))
    lost.unlink()
    assert work.run() == ["a.mp3"]
    finish(work)
    assert work.preview().change is Change.NONE
    vector = next(library.results.embeddings.glob("*/??/*.npy"))
    vector.unlink()  # that only an earlier chunk tells of
    work.encoder = None
    assert work.run() == ["new.mp3"]


class _NoEncoder(FakeEncoder):
    def encode(self, *_: object, **__: object) -> Any:
        raise AssertionError("the model was loaded")


NO_ENCODER = _NoEncoder()


def test_what_a_row_has_already_is_not_made(library: Baseline) -> None:
    theirs = str(library.folder / "theirs.npy")
    sections = {f"embedding_{name}": theirs for name in WINDOW_NAMES}
    features = {"chroma_profile": [0.5] * 12, "tonnetz_profile": [0] * 6}
    whole = sections | {"embedding_version": "v2_section"}
    library.write(
        a=whole, b={**whole, "features": features}, new={**sections, "features": features}
    )
    work = library.work("sections")
    assert work.run() == ["new.mp3"]  # it lacks the version
    finish(work)
    work = library.work("sections", "harmonic")
    work.encoder = NO_ENCODER
    assert (work.run(), work.sung) == (["a.mp3"], ["a.mp3"])
    rows = finish(work)
    assert {rows[name]["embedding_core"] for name in ("a.mp3", "b.mp3")} == {theirs}
    assert rows["new.mp3"]["features"] == features
    assert (work.preview().change, work.run()) == (Change.NONE, [])


def test_a_track_that_failed_is_left_alone_until_asked_for(library: Baseline) -> None:
    work = library.work("harmonic")
    assert work.run({"a.mp3": BROKEN}) == ["new.mp3", "a.mp3", "b.mp3"]
    rows = finish(work)
    assert "features" not in rows["a.mp3"]
    library.add("other.mp3")
    assert work.run() == ["other.mp3"]
    finish(work)
    again = library.work("harmonic", retry_failed=True)
    assert again.run() == ["a.mp3"]
    assert "features" in finish(again)["a.mp3"]


def test_a_chunk_that_was_interrupted_does_nothing_again(library: Baseline) -> None:
    work = library.work("harmonic", "sections")
    (chunk, *_) = work.start()
    job = library.planned(chunk, sidecars=("harmonic", "sections"))
    assert [job.need(row).vector for row in read_manifest(job.table)] == [True, False]
    assert len(work.embed(chunk)) == 2
    library.results.tracks_table(chunk).unlink()
    assert work.preview().tracks_pending == 1
    assert work.embed(chunk) == []


def test_another_song_gets_another_harmony(library: Baseline) -> None:
    """That its sound is another is told by decoding, when its harmony was not asked for yet."""
    work = library.work("harmonic", "sections")
    work.run()
    before = finish(work)["new.mp3"]
    work.sung.clear()
    os.utime(library.music / "new.mp3", ns=(1, 1))
    assert (work.run(), work.sung) == (["new.mp3"], [])  # touched: decoded, and no more than that
    finish(work)
    library.add("new.mp3", content="another song")
    assert (work.run(), work.sung) == (["new.mp3", "new.mp3"], ["new.mp3"])
    after = finish(work)["new.mp3"]
    assert after["features"] != before["features"]
    assert statuses(work)["new.mp3"] == "embedded"
    row = told(work)["new.mp3"]
    assert (row["seconds_harmonic"], row["device"]) == ("0.5", "cpu")
    assert work.preview().change is Change.NONE


def test_a_copy_takes_the_vector_and_keeps_its_own_harmony(library: Baseline) -> None:
    work = library.work("harmonic", "sections")
    work.run()
    finish(work)
    library.add("copy.mp3", content="audio of new.mp3")
    work.encoder = NO_ENCODER
    work.sung.clear()
    assert (work.run(), work.sung) == (["copy.mp3"], ["copy.mp3"])
    rows = finish(work)
    assert rows["copy.mp3"]["features"] == rows["new.mp3"]["features"]
