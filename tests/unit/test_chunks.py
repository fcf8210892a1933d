"""Chunks and their plan: slices of the manifest, and which finished ones are done again."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mert_backfill.errors import UserError
from mert_backfill.failures import Reason, TrackError
from mert_backfill.plan.chunks import (
    Chunk,
    chunk_names,
    plan_chunks,
    write_chunks,
)
from mert_backfill.records.chunk_list import read_chunk_names
from mert_backfill.records.manifest import MANIFEST_HEADER, PendingTrack, read_manifest
from mert_backfill.records.scan_state import ScanState
from mert_backfill.store.tracks import open_track_store
from support.jobs import Workflow
from support.libraries import Library

# the same examples every time, and no clock: the machine may be busy
LAW = settings(derandomize=True, deadline=None)
NAMES = ["a.mp3", "b.mp3", "c.mp3"]
BAD = TrackError("decode", Reason.NOT_AUDIO, "bad")


def rows(count: int) -> list[PendingTrack]:
    hostile = os.fsdecode(b"\xe9\t\r\n\"'.mp3")
    return [
        PendingTrack(f"{i:020x}", f"/m/{i}{hostile}", "missing_meta", "", i, i)
        for i in range(count)
    ]


@LAW
@given(st.integers(0, 40), st.integers(1, 12))
def test_chunks_hold_every_row_once_in_order(count: int, size: int) -> None:
    chunks = plan_chunks(rows(count), size)
    assert [row for chunk in chunks for row in chunk.rows] == rows(count)
    assert all(len(chunk.rows) == size for chunk in chunks[:-1])
    assert [chunk.name[:8] for chunk in chunks] == [
        f"part{number:03d}-" for number in range(1, len(chunks) + 1)
    ]


def test_names_are_hashes_of_the_files(tmp_path: Path) -> None:
    chunks = plan_chunks(rows(5), 2)
    write_chunks(tmp_path, chunks)
    assert chunk_names(tmp_path) == [chunk.name for chunk in chunks]
    for chunk in chunks:
        path = tmp_path / f"{chunk.name}.tsv"
        assert chunk.name[-8:] == hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        assert tuple(read_manifest(path)) == chunk.rows
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            assert tuple(next(csv.reader(file, delimiter="\t"))) == MANIFEST_HEADER


def test_the_same_list_has_the_same_name_and_another_list_another() -> None:
    assert plan_chunks(rows(3), 5) == plan_chunks(rows(3), 5)
    assert plan_chunks(rows(3), 5)[0].name != plan_chunks(rows(4), 5)[0].name


def test_a_new_plan_replaces_the_old_one_and_leaves_the_rest(tmp_path: Path) -> None:
    write_chunks(tmp_path, plan_chunks(rows(6), 2))
    foreign = ["notes.txt", "part1.tsv", "part001-xyz.tsv", ".snakemake_timestamp"]
    for name in foreign:
        (tmp_path / name).touch()
    kept = plan_chunks(rows(2), 2)
    before = (tmp_path / f"{kept[0].name}.tsv").stat()
    write_chunks(tmp_path, kept)
    assert chunk_names(tmp_path) == [kept[0].name]
    assert (tmp_path / f"{kept[0].name}.tsv").stat().st_ino == before.st_ino
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*foreign, f"{kept[0].name}.tsv"]
    )


def test_a_damaged_chunk_file_is_written_again(tmp_path: Path) -> None:
    chunks = plan_chunks(rows(2), 2)
    write_chunks(tmp_path, chunks)
    path = tmp_path / f"{chunks[0].name}.tsv"
    whole = path.read_bytes()
    path.write_bytes(whole[:10])
    write_chunks(tmp_path, chunks)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("numbers", [[2, 999, 1000, 1001, 10_000]])
def test_chunks_are_in_the_order_of_their_numbers(tmp_path: Path, numbers: list[int]) -> None:
    for number in reversed(numbers):
        write_chunk = tmp_path / f"part{number:03d}-0000000{number % 10}.tsv"
        write_chunk.touch()
    assert [int(name[4:-9]) for name in chunk_names(tmp_path)] == numbers


def test_nothing_pending_is_no_chunk(tmp_path: Path) -> None:
    assert plan_chunks([], 500) == []
    write_chunks(tmp_path / "chunks", [])
    assert chunk_names(tmp_path / "chunks") == []
    assert chunk_names(tmp_path / "none") == []
    assert Chunk("part001-00000000", ()).rows == ()


# --- the plan


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
    return [work.library.results.tracks_table(name).exists() for name in names]


def test_the_plan_names_the_chunks_in_order(library: Library) -> None:
    work = Workflow(library)
    work.scan()
    names = work.plan()
    assert json.loads(work.plan_file.read_text()) == {"chunks": names}
    assert [name[:8] for name in names] == ["part001-", "part002-"]
    folder = library.results.chunk_files
    planned = [[Path(r.path).name for r in read_manifest(folder / f"{n}.tsv")] for n in names]
    assert planned == [["a.mp3", "b.mp3"], ["c.mp3"]]


def test_the_same_list_planned_again_keeps_its_chunks(library: Library) -> None:
    work, names = finished(library, {"a.mp3": BAD})
    assert work.plan() == names
    assert tables(work, names) == [True, True]


def test_a_lost_vector_opens_its_chunk(library: Library) -> None:
    work, names = finished(library)
    store = open_track_store(library.results, library.profile, ())
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
    state = ScanState.read(library.results)
    ScanState(state.fingerprint, state.key, {}, {library.id("c.mp3"): 1}).write(library.results)
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


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"chunks": 1}', '{"chunks": [1]}'])
def test_a_damaged_plan_is_refused_and_made_again(library: Library, content: str) -> None:
    work = Workflow(library)
    names = work.start()
    assert read_chunk_names(work.plan_file) == tuple(names)
    work.plan_file.write_text(content)
    with pytest.raises(UserError, match=r"plan\.json: this is no list of planned chunks"):
        read_chunk_names(work.plan_file)
    assert not work.preview().plan_holds
    assert work.start() == names
    assert work.preview().plan_holds
