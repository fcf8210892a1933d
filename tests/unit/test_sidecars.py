"""Sidecars: what is kept beside a vector, and what is missing of it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mert_backfill.model.embedding import WindowEmbedding
from mert_backfill.recipes import WINDOW_NAMES
from mert_backfill.results import Results
from mert_backfill.store.sidecars import SidecarStore
from mert_backfill.store.tracks import TrackArrays, TrackStore, open_track_store
from mert_backfill.store.vectors import VectorState
from support.fakes import LAYERS, D, a_profile

TRACK = "0123456789abcdef0123"


def window(value: float) -> WindowEmbedding:
    layers = np.arange(LAYERS + 1, dtype=np.float32)[:, None] + np.full(D, value, np.float32)
    return WindowEmbedding(layers[-1], layers)


INTRO, CORE, LATE = window(1), window(2), window(3)
ALL = {"intro": INTRO, "core": CORE, "late": LATE}


@pytest.fixture
def store(tmp_path: Path) -> TrackStore:
    return open_track_store(Results(tmp_path), a_profile(), ("layers", "sections"))


def arrays(store: TrackStore, value: float = 5) -> TrackArrays:
    vector = np.full(D, value, np.float16)
    return TrackArrays(vector, {part.kind: part.assemble(ALL) for part in store.sidecars})


def by_kind(store: TrackStore) -> dict[str, SidecarStore]:
    return {part.kind: part for part in store.sidecars}


def inodes(store: TrackStore) -> dict[Path, int]:
    return {path: os.stat(path).st_ino for path in store.vectors.folder.rglob("*.npy")}


def test_each_kind_has_a_folder_and_a_shape(store: TrackStore, tmp_path: Path) -> None:
    base = tmp_path / "embeddings" / a_profile().name
    parts = by_kind(store)
    assert parts["sections"].path(TRACK) == base / "sections" / "01" / f"{TRACK}.npy"
    assert parts["sections"].window_path("late", TRACK) == (
        base / "sections" / "late" / "01" / f"{TRACK}.npy"
    )
    assert parts["sections"].shape == (3, D)
    assert parts["layers"].shape == (3, LAYERS + 1, D)
    assert store.folders == [base, base / "layers", base / "sections"]


@pytest.mark.parametrize("present", [("core",), ("intro", "core"), ("core", "late"), WINDOW_NAMES])
def test_rows_are_windows_and_nan_where_there_is_none(
    store: TrackStore, present: tuple[str, ...]
) -> None:
    windows = {name: ALL[name] for name in present}
    for kind, part in by_kind(store).items():
        part.write(TRACK, part.assemble(windows))
        assert part.state(TRACK) is VectorState.VALID
        stored = part.read(TRACK)
        assert stored.dtype == np.float16
        assert stored.shape == part.shape
        for row, name in zip(stored, WINDOW_NAMES, strict=True):
            if name not in present:
                assert np.isnan(row).all()
            elif kind == "sections":
                assert row.tolist() == ALL[name].final.tolist()
            else:
                layers = ALL[name].layers
                assert layers is not None
                assert row.tolist() == layers.tolist()


def test_each_window_of_sections_is_a_vector_in_a_file_of_its_own(store: TrackStore) -> None:
    part = by_kind(store)["sections"]
    part.write(TRACK, part.assemble({"intro": INTRO, "core": CORE}))
    for name, expected in (("intro", INTRO), ("core", CORE)):
        vector = np.load(part.window_path(name, TRACK), allow_pickle=False)
        assert (vector.dtype, vector.tolist()) == (np.float16, expected.final.tolist())
    assert not part.window_path("late", TRACK).exists()
    part.window_path("intro", TRACK).unlink()
    assert part.state(TRACK) is VectorState.INVALID


@pytest.mark.parametrize("kind", ["sections", "layers"])
@pytest.mark.parametrize(
    "damage", ["gone", "empty", "cut", "trailing", "shape", "dtype", "no row", "part nan", "inf"]
)
def test_damage_is_seen(store: TrackStore, kind: str, damage: str) -> None:
    part = by_kind(store)[kind]
    good = part.assemble(ALL).astype(np.float16)
    part.write(TRACK, good)
    path = part.path(TRACK)
    whole = path.read_bytes()
    bad = good.copy()
    match damage:
        case "gone":
            path.unlink()
        case "empty" | "cut" | "trailing":
            part_of = {"empty": b"", "cut": whole[:-1], "trailing": whole + b"\0"}
            path.write_bytes(part_of[damage])
        case "shape":
            np.save(path, good[:2])
        case "dtype":
            np.save(path, good.astype(np.float32))
        case "no row":
            np.save(path, np.full_like(good, np.nan))
        case "part nan" | "inf":
            bad[1, ..., 0] = np.nan if damage == "part nan" else np.inf
            np.save(path, bad)
    expected = VectorState.MISSING if damage == "gone" else VectorState.INVALID
    assert part.state(TRACK) is expected
    assert part in store.missing(TRACK)
    assert not store.is_complete(TRACK)


def test_a_pickled_sidecar_is_never_unpickled(store: TrackStore) -> None:
    part = by_kind(store)["layers"]
    part.path(TRACK).parent.mkdir(parents=True)
    np.save(part.path(TRACK), np.array([None] * 3, dtype=object), allow_pickle=True)
    assert part.state(TRACK) is VectorState.INVALID
    with pytest.raises(ValueError, match="allow_pickle"):
        part.read(TRACK)


def test_a_track_is_complete_with_all_that_is_asked_for(store: TrackStore, tmp_path: Path) -> None:
    plain = open_track_store(Results(tmp_path), a_profile(), ())
    assert not plain.is_complete(TRACK)
    assert plain.missing(TRACK) == []
    store.write(TRACK, arrays(store))
    assert store.is_complete(TRACK)
    read = store.read(TRACK)
    assert read.vector is not None
    assert read.vector.tolist() == [5.0] * D
    assert set(read.sidecars) == {"layers", "sections"}
    by_kind(store)["layers"].path(TRACK).unlink()
    assert [part.kind for part in store.missing(TRACK)] == ["layers"]
    assert not store.is_complete(TRACK)
    assert plain.is_complete(TRACK)


def test_only_what_is_missing_is_written(store: TrackStore) -> None:
    store.write(TRACK, arrays(store))
    before = inodes(store)
    store.write(TRACK, arrays(store, value=6))
    assert inodes(store) == before
    assert store.vectors.read(TRACK).tolist() == [5.0] * D
    layers = by_kind(store)["layers"].path(TRACK)
    layers.unlink()
    store.write(TRACK, arrays(store, value=6))
    after = inodes(store)
    assert set(after) == set(before)
    assert {path for path in before if after[path] != before[path]} <= {layers}
    assert store.vectors.read(TRACK).tolist() == [5.0] * D


def test_a_damaged_vector_is_made_again(store: TrackStore) -> None:
    store.write(TRACK, arrays(store))
    store.vectors.path(TRACK).write_bytes(b"")
    store.write(TRACK, arrays(store, value=6))
    assert store.vectors.read(TRACK).tolist() == [6.0] * D


def test_the_vector_comes_last_and_the_sidecar_after_its_windows(
    store: TrackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that what exists proves that all that belongs to it exists."""
    order: list[Path] = []
    replace = os.replace

    def record(temporary: str, path: Path) -> None:
        order.append(path)
        replace(temporary, path)

    monkeypatch.setattr(os, "replace", record)
    store.write(TRACK, arrays(store))
    sections = by_kind(store)["sections"]
    windows = [sections.window_path(name, TRACK) for name in WINDOW_NAMES]
    assert order[-1] == store.vectors.path(TRACK)
    assert all(order.index(path) < order.index(sections.path(TRACK)) for path in windows)
