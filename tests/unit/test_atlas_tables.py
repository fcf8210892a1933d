"""The rows of the atlas, and its files as other programs read them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import faiss
import numpy as np
import pandas as pd
import pytest

from mert_backfill.atlas import index as atlas_index
from mert_backfill.atlas.index import write_index
from mert_backfill.atlas.neighbors import find_neighbors, take_mean
from mert_backfill.atlas.table import Table, TableInputs, make_table
from mert_backfill.errors import UserError
from mert_backfill.library.listing import AudioFile, Listing
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.library.paths import PathMap, track_id
from mert_backfill.library.roots import Root
from mert_backfill.records.atlas import (
    About,
    AtlasTrack,
    as_unicode,
    from_unicode,
    read_about,
    read_neighbors,
    read_tracks,
    read_vectors,
    write_library,
    write_neighbors,
)
from mert_backfill.records.calibration import CalibratedRow, Calibration
from mert_backfill.records.track_notes import TrackNote
from mert_backfill.records.tracks import Sound
from mert_backfill.results import Results
from mert_backfill.store.vectors import VectorStore
from mert_backfill.tags import Tags

D = 4
PROFILE, OTHER = "canonical-0123abcd", "padded-0123abcd"
PROOF = Calibration(
    PROFILE, "m", "match", (CalibratedRow("/music/x.mp3", "", "canonical", {"canonical": 0.0}, ""),)
)
ROOT = Root("m", Path("/music"))
MAP = PathMap([("C:/Users/me/Music", "/music")])
LATIN1 = os.fsdecode(b"/music/caf\xe9.mp3")


class World:
    """Files, rows and vectors, made one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = VectorStore(folder / PROFILE, D)
        self.files: list[AudioFile] = []
        self.rows: dict[str, dict[str, Any]] = {}
        self.notes: dict[str, TrackNote] = {}
        self.sounds: dict[str, Sound] = {}
        self.written = 0

    def file(self, relative: str) -> str:
        identity = track_id(ROOT.name, relative)
        self.files.append(AudioFile(ROOT.name, f"{ROOT.path}/{relative}", identity, 1, 1))
        return identity

    def vector(self, path: Path | None = None, dtype: Any = np.float32) -> str:
        """Write a vector of its own."""
        self.written += 1
        path = path or self.folder / f"old-{self.written}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.arange(self.written, self.written + D).astype(dtype))
        return str(path)

    def ours(self, identity: str) -> str:
        return self.vector(self.store.path(identity))

    def table(self, calibration: Calibration | None = PROOF, *, is_trusted: bool = False) -> Table:
        return make_table(
            TableInputs(
                meta=MetaFile({"tracks": self.rows}, path_map=MAP),
                listing=Listing(tuple(self.files), (), (), (), roots=(ROOT,)),
                roots=[ROOT],
                path_map=MAP,
                store=self.store,
                profile=PROFILE,
                notes=self.notes,
                sounds=self.sounds,
                recipe="canonical",
                calibration=calibration,
                is_trusted=is_trusted,
            )
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_vectors_of_one_recipe_count_alike_and_others_are_counted(world: World) -> None:
    for name in ("ours", "old", "padded", "gap", "broken", "copied"):
        world.file(f"{name}.mp3")
    broken = world.folder / "broken.npy"
    broken.write_bytes(b"no vector")
    world.rows = {
        "/music/ours.mp3": {"embedding": world.ours(track_id("m", "ours.mp3"))},
        "/music/old.mp3": {"embedding": world.vector()},
        "/music/padded.mp3": {"embedding": world.vector(), "embedding_profile": OTHER},
        "/music/gap.mp3": {},
        "/music/broken.mp3": {"embedding": str(broken)},
        "/music/copied.mp3": {"embedding": world.vector(), "embedding_profile": PROFILE},
    }
    table = world.table()
    names = [Path(track.path).stem for track in table.tracks]
    assert names == ["ours", "old", "copied"]
    assert table.vectors[:, 0].tolist() == [1, 2, 4]
    assert table.left_out == {"other_recipe": 1, "no_usable_vector": 2}
    proofless = world.table(None)
    assert [Path(track.path).stem for track in proofless.tracks] == ["ours", "copied"]
    assert proofless.left_out == {"recipe_unknown": 2, "other_recipe": 1, "no_usable_vector": 1}
    assert world.table(None, is_trusted=True).left_out == table.left_out


@pytest.mark.parametrize(
    ("verdict", "recipes", "left_out"),
    [
        ("other", ["whole"], {"other_recipe": 3}),
        ("mixture", ["whole", "canonical"], {"other_recipe": 1, "recipe_unknown": 1}),
        ("unknown", ["unknown", "canonical"], {"recipe_unknown": 2}),
    ],
)
def test_what_was_found_of_a_row_counts_for_it(
    world: World, verdict: Any, recipes: list[str], left_out: dict[str, int]
) -> None:
    keys = ["/music/0.mp3", "/music/1.mp3", "/music/2.mp3"]
    world.rows = {key: {"embedding": world.vector()} for key in keys}
    rows = [
        CalibratedRow(key, key, recipe, {recipe: 0.0}, "")
        for key, recipe in zip(keys, recipes, strict=False)
    ]
    table = world.table(Calibration(PROFILE, "m", verdict, tuple(rows)))
    assert table.left_out == left_out


def test_rows_of_one_file_count_once_and_the_vector_made_here_comes_first(world: World) -> None:
    identity = world.file("House/a.mp3")
    world.rows = {
        "C:\\Users\\me\\Music\\House\\a.mp3": {"embedding": world.vector(), "title": "Told"},
        "c:/users/ME/music/house/A.MP3": {"embedding": world.ours(identity), "artist": " "},
    }
    (track,) = world.table().tracks
    assert track == AtlasTrack(
        identity, list(world.rows)[1], "/music/House/a.mp3", None, "Told", None, PROFILE
    )


def test_what_a_row_does_not_say_the_tags_do_and_then_the_name(world: World) -> None:
    first, second = world.file("X - Y.mp3"), world.file("01 - Kick - Snare.mp3")
    world.rows = {
        "/music/X - Y.mp3": {"embedding": world.ours(first), "artist": "Row", "title": 7},
        "/music/01 - Kick - Snare.mp3": {"embedding": world.ours(second), "title": ""},
    }
    world.notes = {first: TrackNote(Tags("Tag", "Tagged"), None, None)}
    world.sounds = {first: Sound(3.5, "f")}
    told = [(track.artist, track.title, track.duration_s) for track in world.table().tracks]
    assert told == [("Row", "Tagged", 3.5), ("Kick", "Snare", None)]


def test_a_row_whose_file_is_elsewhere_has_an_id_of_its_own(world: World) -> None:
    world.rows = {
        "C:/Users/me/Music/Sold.mp3": {"embedding": world.vector()},
        "D:\\Sold.mp3": {"embedding": world.vector()},
        "d:/sold.mp3": {"embedding": world.vector()},
    }
    table = world.table()
    assert [track.path for track in table.tracks] == ["/music/Sold.mp3", "D:/Sold.mp3"]
    assert [track.track_id for track in table.tracks] == [
        track_id("m", "Sold.mp3"),
        track_id("", "d:/sold.mp3"),
    ]
    assert table.files == (None, None)


def test_a_number_that_float32_cannot_hold_makes_no_vector(world: World) -> None:
    world.file("a.mp3")
    vector = world.folder / "huge.npy"
    np.save(vector, np.full(D, 1e300))
    world.rows = {"/music/a.mp3": {"embedding": str(vector)}}
    assert world.table().left_out == {"no_usable_vector": 1}


# --- the files ------------------------------------------------------------------------------------

NAMES = ['/music/it\'s "x".mp3', "/music/two\nlines.mp3", LATIN1, "/music/Zoë.mp3", "/music/e.mp3"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Results:
    results = Results(tmp_path_factory.mktemp("atlas"))
    tracks, vectors = tracks_of(NAMES), random_vectors(len(NAMES))
    about = About(PROFILE, "random", left_out={"other_recipe": 2})
    write_library(results, tracks, vectors, about)
    write_index(results, [track.meta_key for track in tracks], vectors)
    take_mean(vectors)
    write_neighbors(results, tracks, find_neighbors(vectors), about)
    return results


def tracks_of(names: list[str]) -> list[AtlasTrack]:
    return [
        AtlasTrack(track_id("m", name), name, name, None if n else "É", name[7:], n / 2, PROFILE)
        for n, name in enumerate(names)
    ]


def random_vectors(count: int, dimension: int = 8) -> np.ndarray:
    numbers = np.random.default_rng(0).normal(3, 1, (count, dimension))
    return numbers.astype(np.float16).astype(np.float32)


def test_they_are_read_back_as_they_were(written: Results) -> None:
    assert read_tracks(written) == tracks_of(NAMES)
    assert np.array_equal(read_vectors(written), random_vectors(len(NAMES)))
    assert read_about(written) == About(PROFILE, "random", left_out={"other_recipe": 2})


def test_pandas_reads_the_library(written: Results) -> None:
    library = pd.read_parquet(written.atlas_library)
    assert list(library.columns) == [
        *("track_id", "meta_key", "path", "artist", "title", "duration_s", "profile", "vector"),
    ]
    assert library.path[2] == "/music/caf\\udce9.mp3"
    assert np.array_equal(np.stack(library.vector), random_vectors(len(NAMES)))


def test_duckdb_joins_library_and_neighbors(written: Results) -> None:
    relation = duckdb.sql(
        f"""select n.rank, l.path, n.cosine from '{written.atlas_neighbors}' n
        join '{written.atlas_library}' l on l.track_id = n.neighbor_id
        where n.track_id = '{track_id("m", NAMES[0])}' order by n.rank"""
    )
    assert relation is not None
    rows = relation.fetchall()
    vectors = random_vectors(len(NAMES)).astype(np.float64)
    vectors -= vectors.mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors[0]
    order = np.argsort(-cosines)[1:]
    assert [rank for rank, _, _ in rows] == [1, 2, 3, 4]
    assert [path for _, path, _ in rows] == [as_unicode(NAMES[place]) for place in order]
    assert [cosine for _, _, cosine in rows] == pytest.approx(cosines[order], abs=1e-6)


def test_faiss_finds_the_same_neighbors(written: Results) -> None:
    library = pd.read_parquet(written.atlas_library)
    vectors = np.stack(library.vector) - np.stack(library.vector).mean(axis=0)
    faiss.normalize_L2(vectors)
    search = faiss.IndexFlatIP(vectors.shape[1])
    search.add(vectors)
    _, places = search.search(vectors, len(vectors))
    found = pd.read_parquet(written.atlas_neighbors)
    for place, one in enumerate(library.track_id):
        nearest = found[found.track_id == one].sort_values("rank").neighbor_id
        assert list(nearest) == list(library.track_id[places[place, 1:]])


def test_hnswlib_finds_each_vector_by_its_place_in_the_list_of_keys(written: Results) -> None:
    hnswlib = pytest.importorskip("hnswlib")
    keys = json.loads(written.search_index_paths.read_bytes())
    assert keys == NAMES
    search = hnswlib.Index(space="cosine", dim=8)
    search.load_index(str(written.search_index))
    labels, _ = search.knn_query(random_vectors(len(NAMES)), k=1)
    assert labels.ravel().tolist() == list(range(len(keys)))
    assert (search.M, search.ef_construction) == (32, 200)
    assert search.max_elements == len(NAMES) + 256
    assert np.allclose(
        search.get_items([3])[0],
        random_vectors(len(NAMES))[3] / np.linalg.norm(random_vectors(len(NAMES))[3]),
        atol=1e-6,
    )


def test_without_hnswlib_the_index_is_left_out_and_a_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    results = Results(tmp_path)
    results.search_index.parent.mkdir()
    results.search_index.write_bytes(b"of other keys")
    monkeypatch.setattr(atlas_index, "import_hnswlib", lambda: None)
    write_index(results, NAMES, random_vectors(len(NAMES)))
    assert not results.search_index.exists()
    assert json.loads(results.search_index_paths.read_bytes()) == NAMES
    (line,) = caplog.messages
    assert "requirements-index.txt" in line


def test_an_index_that_was_cut_by_a_full_disk_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hnswlib")
    results = Results(tmp_path)
    monkeypatch.setattr(os.path, "getsize", lambda path: 1)
    with pytest.raises(UserError, match="the disk is full"):
        write_index(results, NAMES, random_vectors(len(NAMES)))
    assert not results.search_index.exists()


@pytest.mark.parametrize("name", [LATIN1, "/music/plain.mp3", "C:\\Music\\udc.mp3"])
def test_a_name_that_is_not_utf8_survives(name: str) -> None:
    text = as_unicode(name)
    text.encode("utf-8")
    assert from_unicode(text) == name


def test_without_an_atlas_one_line_says_how_to_get_one(tmp_path: Path) -> None:
    results = Results(tmp_path)
    for read in (read_tracks, read_about, read_vectors, read_neighbors):
        with pytest.raises(UserError, match=r"there is no atlas yet .* `snakemake .*atlas`"):
            read(results)
    results.atlas_library.parent.mkdir()
    results.atlas_library.write_bytes(b"PAR1 no more")
    with pytest.raises(UserError, match="is damaged; delete it"):
        read_tracks(results)


def test_row_groups_and_types(written: Results, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    results = Results(tmp_path)
    tracks = tracks_of([f"/music/{n}.mp3" for n in range(10_001)])
    write_library(results, tracks, random_vectors(len(tracks), 2), About(PROFILE))
    file = pq.ParquetFile(results.atlas_library)
    assert [file.metadata.row_group(n).num_rows for n in range(2)] == [10_000, 1]
    assert str(file.schema_arrow.field("vector").type) == "fixed_size_list<element: float>[2]"
    types: Mapping[str, str] = {
        field.name: str(field.type) for field in pq.read_schema(written.atlas_neighbors)
    }
    assert types == {
        "track_id": "string",
        "rank": "int32",
        "neighbor_id": "string",
        "cosine": "float",
    }
