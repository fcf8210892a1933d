"""The store: a place for a vector holds a valid one, an invalid one, or none."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mert_backfill.results import Results
from mert_backfill.store.vectors import VectorState, VectorStore, open_store, vector_state
from support.checks import refusal
from support.fakes import a_profile

D = 4
TRACK = "0123456789abcdef0123"
GOOD = np.arange(1, D + 1, dtype=np.float16)


@pytest.fixture
def store(tmp_path: Path) -> VectorStore:
    return VectorStore(tmp_path / "store", D)


def put(store: VectorStore, content: bytes) -> Path:
    path = store.path(TRACK)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_what_is_written_can_be_read(store: VectorStore) -> None:
    assert store.state(TRACK) is VectorState.MISSING
    store.write(TRACK, GOOD.astype(np.float64))
    assert store.state(TRACK) is VectorState.VALID
    assert store.path(TRACK) == store.folder / "01" / f"{TRACK}.npy"
    assert store.read(TRACK).dtype == np.float16
    assert store.read(TRACK).tolist() == GOOD.tolist()
    assert np.load(store.path(TRACK), allow_pickle=False).tolist() == GOOD.tolist()


@pytest.mark.parametrize(
    "array",
    [
        np.ones(D - 1, np.float16),
        np.ones(D + 1, np.float16),
        np.ones((1, D), np.float16),
        np.ones((D, 1), np.float16),
        np.float16(1),
        np.ones(0, np.float16),
        np.zeros(D, np.float16),
        np.array([1, 2, 3, np.nan], np.float16),
        np.array([1, 2, 3, np.inf], np.float16),
        np.ones(D, np.int64),
        np.ones(D, np.bool_),
        np.ones(D, np.complex64),
        np.array(["a"] * D),
    ],
)
def test_an_array_that_is_no_vector(store: VectorStore, array: Any) -> None:
    path = put(store, b"")
    with open(path, "wb") as file:
        np.save(file, array)
    assert store.state(TRACK) is VectorState.INVALID


def test_a_file_cut_anywhere_is_invalid(store: VectorStore) -> None:
    store.write(TRACK, GOOD)
    whole = store.path(TRACK).read_bytes()
    for length in range(len(whole)):
        put(store, whole[:length])
        assert store.state(TRACK) is VectorState.INVALID, length
    put(store, whole + b"\0")
    assert store.state(TRACK) is VectorState.INVALID
    put(store, whole)
    assert store.state(TRACK) is VectorState.VALID


class Trap:
    """Makes a folder as soon as it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_nothing_is_ever_unpickled(store: VectorStore, tmp_path: Path) -> None:
    trap = Trap(tmp_path / "sprung")
    path = put(store, pickle.dumps(trap))
    assert store.state(TRACK) is VectorState.INVALID
    array = np.empty(D, object)
    array[:] = trap
    np.save(path, array, allow_pickle=True)
    assert store.state(TRACK) is VectorState.INVALID
    with pytest.raises(ValueError, match="allow_pickle"):
        store.read(TRACK)
    assert not trap.folder.exists()


@pytest.mark.parametrize("content", [b"", b"RIFF", b"PK\x03\x04", b"\x93NUMPY\x01\x00\xff\xff{"])
def test_a_foreign_file_is_invalid(store: VectorStore, content: bytes) -> None:
    put(store, content)
    assert store.state(TRACK) is VectorState.INVALID


def test_a_folder_in_the_place_of_a_vector_is_invalid(store: VectorStore) -> None:
    store.path(TRACK).mkdir(parents=True)
    assert store.state(TRACK) is VectorState.INVALID


def test_a_header_that_promises_too_much_is_invalid(store: VectorStore) -> None:
    header = b"{'descr': '<f2', 'fortran_order': False, 'shape': (999999999999,), }\n"
    put(store, b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    assert store.state(TRACK) is VectorState.INVALID


def test_any_length_will_do_where_none_is_asked_for(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones(7))
    assert vector_state(tmp_path / "x.npy", None) is VectorState.VALID
    assert vector_state(tmp_path / "x.npy", D) is VectorState.INVALID
    np.save(tmp_path / "x.npy", np.ones((1, 7)))
    assert vector_state(tmp_path / "x.npy", None) is VectorState.INVALID
    assert vector_state(tmp_path / "x.npy" / "below", None) is VectorState.MISSING


@pytest.mark.parametrize(
    "vector",
    [
        np.array([1, 2, np.nan, 4]),
        np.array([1, 2, np.inf, 4]),
        np.array([1, 2, 1e5, 4]),  # more than float16 holds
        np.zeros(D),
        np.full(D, 1e-9),  # nothing is left of it in float16
        np.ones(D + 1),
        np.ones((1, D)),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_what_would_be_invalid_is_not_written(store: VectorStore, vector: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"instead of|not finite"):
        store.write(TRACK, vector)
    assert store.state(TRACK) is VectorState.MISSING
    store.write(TRACK, GOOD)
    with pytest.raises(ValueError, match=r"instead of|not finite"):
        store.write(TRACK, vector)
    assert store.read(TRACK).tolist() == GOOD.tolist()


def test_a_kill_in_mid_write_leaves_no_vector(
    store: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        store.write(TRACK, GOOD)
    assert store.state(TRACK) is VectorState.MISSING
    assert list(store.files()) == []


@pytest.mark.parametrize("name", ["", "../../x", TRACK[:-1], TRACK + "0", TRACK.upper(), "g" * 20])
def test_what_is_no_track_id_names_no_file(store: VectorStore, name: str) -> None:
    with pytest.raises(ValueError, match="is not a track id"):
        store.path(name)


def test_only_vectors_are_listed(store: VectorStore) -> None:
    other = "ff" + TRACK[2:]
    assert list(store.files()) == []
    for track in (TRACK, other):
        store.write(track, GOOD)
    shard = store.path(TRACK).parent
    for name in (".tmp-abc", f"{TRACK}.npy.damaged", f"{TRACK}.txt", "x.npy"):
        (shard / name).touch()
    (store.folder / "profile.json").touch()
    (store.folder / "sections" / "01").mkdir(parents=True)
    (store.folder / "sections" / "01" / f"{TRACK}.npy").touch()
    found = dict(store.files())
    assert set(found) == {TRACK, other}
    assert found[TRACK].st_mtime_ns == store.path(TRACK).stat().st_mtime_ns


def test_a_profile_has_a_folder_of_its_own(tmp_path: Path) -> None:
    one, other = (open_store(Results(tmp_path), a_profile(seed)) for seed in (0, 1))
    assert one.folder == tmp_path / "embeddings" / a_profile(0).name
    assert one.folder != other.folder
    assert one.dimension == a_profile(0).dimension


def test_a_full_disk_is_told_and_nothing_is_left(
    store: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "the disk is full" in refusal(lambda: store.write(TRACK, GOOD))
    assert list(store.path(TRACK).parent.iterdir()) == []
