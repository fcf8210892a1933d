"""Which recipe made a library's vectors: verdicts, the choice of tracks, what is remembered."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from mert_backfill.audio.decode import prepare_track
from mert_backfill.chunk.calibrate import (
    BaselineVector,
    compare_vectors,
    find_baseline_vectors,
    judge,
    mean_vector,
    spread,
)
from mert_backfill.chunk.encoder import guard_windows
from mert_backfill.library.listing import list_library
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.library.path_lists import read_path_list
from mert_backfill.library.paths import PathMap
from mert_backfill.model.embedding import WindowEmbedding, track_vector
from mert_backfill.model.encoder import Encoder
from mert_backfill.recipes import PADDED, RECIPES, Recipe
from mert_backfill.records.calibration import (
    CalibratedRow,
)
from mert_backfill.records.manifest import PendingTrack, write_manifest
from mert_backfill.results import Results
from mert_backfill.store.profile import Profile, make_profile
from mert_backfill.system.tables import write_json
from support import model_files as files
from support.audio_files import music, write_audio
from support.checks import refusal
from support.fakes import D, a_model, a_profile
from support.jobs import make_job
from support.libraries import LENGTH, Library
from support.reference import decode, reference_vector

DAY_NS = 86_400 * 10**9
PROFILE = a_profile()
# how far the other recipes' vectors lie from canonical's, in units of the tracks' spread
APART = {"canonical": 0.005, "whole": 0.6, "padded": 12.0, "another program": 3.0}


def vector_of(track: int, recipe: str) -> np.ndarray:
    """Return a made-up vector: a large part that all share, the track's own, the recipe's."""
    own = np.random.default_rng(track).standard_normal(D)
    apart = np.roll(np.eye(D)[0], list(APART).index(recipe)) * APART[recipe]
    return (50 * np.ones(D) + own / np.linalg.norm(own) + apart).astype(np.float32)


@dataclass
class World:
    """Baseline vectors of made-up tracks, and a stand-in for what decodes and embeds."""

    folder: Path
    vectors: list[BaselineVector] = field(default_factory=list)
    short: set[str] = field(default_factory=set)
    hopeless: dict[str, set[str]] = field(default_factory=dict)  # by recipe
    asked: list[tuple[str, list[str]]] = field(default_factory=list)

    def add(self, recipe: str, vector: np.ndarray | None = None) -> None:
        number = len(self.vectors)
        path, kept = self.folder / f"{number}.wav", self.folder / f"{number}.npy"
        path.write_text(str(number))
        np.save(kept, vector_of(number, recipe) if vector is None else vector)
        self.vectors.append(BaselineVector(f"key {number}", str(path), kept, number * DAY_NS))

    def measure(self, tracks: Sequence[PendingTrack]) -> Collection[str]:
        return {track.track_id for track in tracks if Path(track.path).name not in self.short}

    def embed(self, recipe: Recipe, tracks: Sequence[PendingTrack]) -> Mapping[str, np.ndarray]:
        names = {track.track_id: Path(track.path).name for track in tracks}
        self.asked.append((recipe.name, sorted(names.values())))
        hopeless = self.hopeless.get(recipe.name, set())
        return {
            identity: vector_of(int(Path(name).stem), recipe.name)
            for identity, name in names.items()
            if name not in hopeless
        }

    def compare(self, wanted: int = 8, profile: Profile = PROFILE) -> list[CalibratedRow]:
        made = compare_vectors(self.vectors, profile, wanted, self.measure, self.embed)
        return [row for _, row in made]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def names(rows: Sequence[CalibratedRow]) -> list[str]:
    return [Path(row.path).name for row in rows]


# --- verdicts


@pytest.mark.parametrize(
    ("made_by", "verdict"),
    [
        (["canonical"] * 4, "match"),
        (["whole"] * 4, "other"),
        (["padded"] * 4, "other"),
        (["whole", "whole", "canonical", "canonical"], "mixture"),
        (["padded", "padded", "whole", "whole"], "mixture"),
        (["canonical"] * 3 + ["another program"], "unknown"),
        (["whole", "another program", "canonical", "canonical"], "unknown"),
        ([], "none"),
    ],
)
def test_each_verdict(world: World, made_by: list[str], verdict: str) -> None:
    for recipe in made_by:
        world.add(recipe)
    rows = world.compare()
    found = [row.recipe for row in rows]
    assert found == [recipe.replace("another program", "unknown") for recipe in made_by]
    assert judge(found, "canonical") == verdict
    for row in rows:  # others are tried where the configured one does not match
        tried = {"canonical"} if row.recipe == "canonical" else set(RECIPES)
        assert row.distances.keys() == tried
    assert [row.meta_key for row in rows] == [f"key {number}" for number in range(len(made_by))]
    assert rows == [] or rows[0].vector_mtime == "1970-01-01T00:00:00+00:00"


def test_another_configured_recipe_is_tried_first(world: World) -> None:
    for recipe in ("padded", "padded", "whole"):
        world.add(recipe)
    rows = world.compare(profile=make_profile(PADDED, a_model()))
    assert world.asked == [
        ("padded", ["0.wav", "1.wav", "2.wav"]),
        ("canonical", ["2.wav"]),
        ("whole", ["2.wav"]),
    ]
    assert judge([row.recipe for row in rows], "padded") == "mixture"


def test_the_distance_is_measured_from_the_mean(world: World) -> None:
    for track in range(3):
        world.add("whole", vector_of(track, "whole"))
    mean = mean_vector([vector.vector for vector in world.vectors], D)
    assert mean is not None
    old, new = vector_of(0, "whole"), vector_of(0, "canonical")
    expected = np.linalg.norm(new - old) / np.linalg.norm(old - mean)
    assert world.compare()[0].distances["canonical"] == pytest.approx(expected, abs=1e-4)


# --- which tracks


def test_tracks_are_spread_evenly_over_the_age_of_their_vectors(world: World) -> None:
    assert spread(100, 4) == [0, 33, 66, 99]
    assert spread(3, 8) == [0, 1, 2]
    assert spread(9, 1) == [8]
    for _ in range(13):
        world.add("canonical")
    assert names(world.compare(wanted=4)) == ["0.wav", "4.wav", "8.wav", "12.wav"]


def test_what_cannot_be_used_is_replaced_by_its_neighbour(world: World) -> None:
    unusable: dict[int, np.ndarray] = {
        1: np.ones(D + 1, np.float32),
        2: np.full(D, np.nan, np.float32),
        3: np.zeros(D, np.float32),
        5: np.ones(D),
    }
    for number in range(9):
        world.add("canonical", unusable.get(number))
    os.truncate(world.vectors[5].vector, 100)
    os.unlink(str(world.vectors[8].path))
    world.vectors[0] = replace(world.vectors[0], path=None)  # its file is elsewhere
    world.short = {"7.wav"}
    world.hopeless = {"canonical": {"4.wav"}}
    rows = world.compare(wanted=3)
    assert names(rows) == ["6.wav"]  # the only one that is left
    assert judge([row.recipe for row in rows], "canonical") == "match"


def test_a_track_that_only_another_recipe_fails_on_is_told(world: World) -> None:
    for _ in range(2):
        world.add("canonical")
    world.add("padded")
    world.hopeless = {"whole": {"2.wav"}}
    line = refusal(world.compare)
    assert "2.wav' could not be embedded by whole" in line
    assert "--config 'calibration={tracks: 0}'" in line


@pytest.mark.parametrize("count", [1, 3])
def test_vectors_that_are_all_the_same_have_no_distance(world: World, count: int) -> None:
    for _ in range(count):
        world.add("canonical", np.ones(D, np.float32))
    assert world.compare() == []
    assert world.asked == []


def test_a_long_search_ends(world: World) -> None:
    for number in range(120):
        world.add("canonical")
        world.short.add(f"{number}.wav")
    assert world.compare(wanted=1) == []
    assert world.asked == []


def test_rows_are_found_by_file_and_ours_are_left_out(tmp_path: Path) -> None:
    library = Library(tmp_path)
    library.add("a.mp3", "b.mp3", "c.mp3", "Ä.mp3", "d.mp3")
    (tmp_path / "elsewhere.mp3").touch()
    for number, name in enumerate("fedcba"):
        np.save(tmp_path / f"{name}.npy", np.ones(D))
        os.utime(tmp_path / f"{name}.npy", ns=(0, number * DAY_NS))
    rows = {
        "C:\\Music\\A.mp3": {"embedding": "a.npy"},
        str(library.music / "b.mp3"): {"embedding": "b.npy", "embedding_profile": "p-1"},
        str(library.music / "c.mp3"): {"embedding": "gone.npy"},
        str(library.music / "./c.mp3"): {"embedding": "c.npy"},
        str(library.music / "A\u0308.mp3"): {"embedding": "d.npy", "embedding_profile": "p-2"},
        str(tmp_path / "elsewhere.mp3"): {"embedding": "e.npy"},
        str(library.music / "d.mp3"): {"embedding": "f.npy"},
        "D:\\Sold.mp3": {"embedding": "f.npy"},
        "no ref.mp3": {},
    }
    write_json(tmp_path / "data" / "meta.json", {"tracks": rows})
    (tmp_path / "exclude.txt").write_text("music/d.mp3\n")
    path_map = PathMap([("C:/Music", str(library.music))])
    baseline = MetaFile.load(
        tmp_path / "data" / "meta.json", embedding_base=None, path_map=path_map
    )
    listing = list_library([library.root], [".mp3"])
    excluded = read_path_list(tmp_path / "exclude.txt", path_map, globs=True)
    found = find_baseline_vectors(baseline, listing, excluded, path_map, "p-1")
    here = {vector.vector.name: vector.path and Path(vector.path).name for vector in found}
    assert here == {
        "f.npy": None,  # excluded
        "e.npy": "elsewhere.mp3",
        "d.npy": "Ä.mp3",
        "c.npy": "c.mp3",
        "a.npy": "a.mp3",
    }
    assert list(here) == ["f.npy", "e.npy", "d.npy", "c.npy", "a.npy"]  # the oldest first


def test_the_precision_guard_finds_windows_where_nothing_is_pending(tmp_path: Path) -> None:
    job = make_job(tmp_path, ["a.wav"], home=Results(tmp_path / "home"))
    write_manifest(job.of_the_run.manifest, [])
    (window,) = guard_windows(job)
    assert len(window) == LENGTH


# --- the verdicts on what the references and the engine make

Made = dict[tuple[int, str], np.ndarray]


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return three tracks of 80 s and more that change as they go on."""
    folder = tmp_path_factory.mktemp("tracks")
    paths = []
    for number, seconds in enumerate((80, 82, 84)):
        parts = [music(2, 4000, 1, seed=3 * number + part) for part in range(0, seconds, 2)]
        sound = np.concatenate(parts) * np.linspace(0.1, 1, 4000 * seconds)[:, None]
        paths.append(write_audio(folder / f"{number}.wav", sound.astype(np.float32), 4000))
    return paths


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two models of other weights."""
    return [
        files.write_model(tmp_path_factory.mktemp(f"model{seed}"), seed=seed, **files.TINY)
        for seed in (0, 1)
    ]


@pytest.fixture(scope="module")
def references(tracks: list[Path], models: list[Path]) -> Made:
    """Return what the references make of each track; of the last model by one recipe."""
    made: Made = {}
    for number, path in enumerate(tracks):
        decoded = decode(str(path))
        for recipe in RECIPES:
            made[number, recipe] = reference_vector(decoded, models[0], recipe)
    made[2, "another model"] = reference_vector(decode(str(tracks[2])), models[1])
    return made


@pytest.fixture(scope="module")
def engine(models: list[Path]) -> Callable[[Recipe, str], np.ndarray]:
    encoder = Encoder(files.inspect_folder(models[0]), device="cpu", threads=1)
    made: dict[tuple[str, str], np.ndarray] = {}

    def embed(recipe: Recipe, path: str) -> np.ndarray:
        if (recipe.name, path) not in made:
            windows = prepare_track(path, recipe).windows
            lengths = [max(map(len, windows))] * len(windows) if recipe.is_padded else None
            parts = encoder.encode(windows, lengths=lengths)
            finals = [part.final for part in parts if isinstance(part, WindowEmbedding)]
            made[recipe.name, path] = track_vector(finals)
        return made[recipe.name, path]

    return embed


@pytest.mark.parametrize("configured", ["canonical", "padded", "whole"])
@pytest.mark.parametrize(
    ("made_by", "verdict"),
    [
        (["canonical"] * 3, "canonical"),
        (["padded"] * 3, "padded"),
        (["whole"] * 3, "whole"),
        (["whole", "canonical", "canonical"], "mixture"),
        (["whole", "padded", "padded"], "mixture"),
        (["canonical", "canonical", "another model"], "unknown"),
    ],
)
def test_verdicts_on_libraries_that_the_references_made(
    tmp_path: Path,
    tracks: list[Path],
    models: list[Path],
    references: Made,
    engine: Callable[[Recipe, str], np.ndarray],
    configured: str,
    made_by: list[str],
    verdict: str,
) -> None:
    vectors = []
    for number, recipe in enumerate(made_by):
        kept = tmp_path / f"{number}.npy"
        np.save(kept, references[number, recipe])
        vectors.append(BaselineVector(str(number), str(tracks[number]), kept, number * DAY_NS))
    profile = make_profile(RECIPES[configured], files.inspect_folder(models[0]))
    rows = [
        row
        for _, row in compare_vectors(
            vectors,
            profile,
            8,
            lambda some: {one.track_id for one in some},
            lambda recipe, some: {one.track_id: engine(recipe, one.path) for one in some},
        )
    ]
    found = [row.recipe for row in rows]
    assert found == [recipe.replace("another model", "unknown") for recipe in made_by]
    expected = "match" if verdict == configured else "other" if verdict in RECIPES else verdict
    assert judge(found, configured) == expected
    for row in rows:
        if row.recipe != "unknown":
            assert row.distance < 0.01
            apart = {name: value for name, value in row.distances.items() if name != row.recipe}
            assert all(value > 0.15 for value in apart.values())
