"""Verifying reads every vector and sets the damaged ones aside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mert_backfill.health.verify import (
    NamedVerification,
    Verification,
    verify_named,
    verify_store,
)
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.library.paths import PathMap
from mert_backfill.results import Results
from mert_backfill.store.named import NamedVectors
from mert_backfill.store.profile import write_profile
from mert_backfill.store.vectors import VectorStore, open_store
from mert_backfill.system.remembered import Remembered
from support.checks import refusal
from support.fakes import D, a_profile

TRACKS = [f"{number:02x}{'0' * 18}" for number in range(5)]


def a_store(results: Path, seed: int = 0) -> VectorStore:
    store = open_store(Results(results), a_profile(seed))
    write_profile(store.folder / "profile.json", a_profile(seed))
    for track in TRACKS:
        store.write(track, np.ones(D))
    return store


def test_nothing_is_fine(tmp_path: Path) -> None:
    assert verify_store(tmp_path / "embeddings") == Verification(0, ())


def test_damaged_vectors_are_set_aside_and_nothing_is_lost(tmp_path: Path) -> None:
    store, other = a_store(tmp_path), a_store(tmp_path, seed=1)
    cut, nan, pickled = (store.path(track) for track in TRACKS[:3])
    cut.write_bytes(whole := cut.read_bytes()[:-1])
    np.save(nan, np.full(D, np.nan, np.float16))
    np.save(pickled, np.array([None] * D, dtype=object), allow_pickle=True)
    empty = other.path(TRACKS[4])
    empty.write_bytes(b"")
    found = verify_store(tmp_path / "embeddings")
    assert found.valid == 6
    assert set(found.damaged) == {cut, nan, pickled, empty}
    assert list(found.damaged) == sorted(found.damaged)
    assert cut.with_name(cut.name + ".damaged").read_bytes() == whole
    assert not any(path.exists() for path in found.damaged)
    assert verify_store(tmp_path / "embeddings") == Verification(6, ())


def test_vectors_of_others_are_read_and_left_alone(tmp_path: Path) -> None:
    ours, theirs = a_store(tmp_path).path(TRACKS[0]), tmp_path / "theirs"
    theirs.mkdir()
    vectors = {"good": np.ones(D), "zero": np.zeros(D), "longer": np.ones(D + 1)}
    for name, vector in vectors.items():
        np.save(theirs / f"{name}.npy", vector.astype(np.float16))
    rows = {f"/{name}": {"embedding": str(theirs / f"{name}.npy")} for name in (*vectors, "gone")}
    rows |= {"/ours": {"embedding": str(ours)}, "/again": rows["/good"], "/none": {}}
    meta = MetaFile({"tracks": rows}, path_map=PathMap())
    named = NamedVectors(D, "invalid", Remembered(tmp_path / "remembered.npz"))
    found = verify_named(meta, tmp_path / "embeddings", named)
    assert found == NamedVerification(
        1, (theirs / "longer.npy", theirs / "zero.npy"), (theirs / "gone.npy",)
    )
    assert len(list(theirs.iterdir())) == 3


def test_good_vectors_are_not_touched(tmp_path: Path) -> None:
    store = a_store(tmp_path)

    def marks() -> dict[str, tuple[int, int]]:
        return {track: (stat.st_ino, stat.st_mtime_ns) for track, stat in store.files()}

    before = marks()
    assert verify_store(tmp_path / "embeddings") == Verification(len(TRACKS), ())
    assert marks() == before


def test_each_profile_has_its_own_length(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    record = json.loads((store.folder / "profile.json").read_text())
    (store.folder / "profile.json").write_text(json.dumps({**record, "dimension": D + 1}))
    assert len(verify_store(tmp_path / "embeddings").damaged) == len(TRACKS)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_profile_that_cannot_be_read_is_told_and_nothing_renamed(
    tmp_path: Path, content: str
) -> None:
    store = a_store(tmp_path)
    path = store.folder / "profile.json"
    path.write_text(content)
    told = refusal(lambda: verify_store(tmp_path / "embeddings"))
    assert told.startswith(f"{path}: cannot be read; restore it, or delete it and run")
    assert len(dict(store.files())) == len(TRACKS)
