"""The plan: which finished chunks stay finished, and which are done again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mert_backfill.failures import Reason, TrackError
from mert_backfill.records.manifest import read_manifest
from mert_backfill.records.scan_state import ScanState
from mert_backfill.results import Results
from mert_backfill.store.tracks import open_track_store
from support.chunk_parts import Library, Workflow

NAMES = ["a.mp3", "b.mp3", "c.mp3"]
BAD = TrackError("decode", Reason.NOT_AUDIO, "bad")


@pytest.fixture
def library(tmp_path: Path) -> Library:
    library = Library(tmp_path)
    library.add(*NAMES)
    return library


def finished(library: Library, errors: dict[str, Any] | None = None) -> tuple[Workflow, list[str]]:
    """Return a workflow all of whose chunks are done, and their names."""
    work = Workflow(library)
    names = work.start()
    for name in names:
        work.embed(name, errors)
    return work, names


def tables(work: Workflow, names: list[str]) -> list[bool]:
    chunks = work.library.results / "chunks"
    return [Results(chunks.parent).tracks_table(name).exists() for name in names]


def test_the_plan_names_the_chunks_in_order(library: Library) -> None:
    work = Workflow(library)
    work.scan()
    names = work.plan()
    assert json.loads(work.plan_file.read_text()) == {"chunks": names}
    assert [name[:8] for name in names] == ["part001-", "part002-"]
    folder = library.results / "gaps" / "chunks"
    planned = [[Path(r.path).name for r in read_manifest(folder / f"{n}.tsv")] for n in names]
    assert planned == [["a.mp3", "b.mp3"], ["c.mp3"]]


def test_the_same_list_planned_again_keeps_its_chunks(library: Library) -> None:
    work, names = finished(library, {"a.mp3": BAD})
    assert work.plan() == names
    assert tables(work, names) == [True, True]


def test_a_lost_vector_opens_its_chunk(library: Library) -> None:
    work, names = finished(library)
    store = open_track_store(Results(library.results), library.profile, ())
    store.vectors.path(library.id("a.mp3")).unlink()
    assert work.plan() == names
    assert tables(work, names) == [False, True]
    assert work.embed(names[0]) == ["a.mp3"]


def test_a_sidecar_asked_for_later_opens_its_chunks(library: Library) -> None:
    _, names = finished(library)
    work = Workflow(library, sidecars=("sections",))
    assert work.plan() == names
    assert tables(work, names) == [False, False]


def test_a_released_track_opens_its_chunk_once(library: Library) -> None:
    work, names = finished(library, {"c.mp3": BAD})
    state = ScanState.read(Results(library.results))
    ScanState(state.fingerprint, state.key, {}, {library.id("c.mp3"): 1}).write(
        Results(library.results)
    )
    assert work.plan() == names
    assert tables(work, names) == [True, False]
    assert work.embed(names[1], {"c.mp3": BAD}) == ["c.mp3"]
    work.plan()
    assert tables(work, names) == [True, True]


def test_an_empty_library_of_gaps_is_an_empty_plan(library: Library) -> None:
    work, names = finished(library)
    work.scan()
    assert work.plan() == []
    assert tables(work, names) == [True, True]  # history stays
    assert json.loads(work.plan_file.read_text()) == {"chunks": []}
