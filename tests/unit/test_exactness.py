"""The engine's numbers against the plain references, and against committed golden vectors.

To write the golden vectors anew (after a wanted change of a recipe's definition only):
``MERT_BACKFILL_WRITE_GOLDEN=1 python -m pytest tests/unit/test_exactness.py``. They are made
by the references, not by the engine.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mert_backfill.audio.decode import prepare_track
from mert_backfill.audio.pool import DecoderPool
from mert_backfill.chunk.job import ChunkJob
from mert_backfill.chunk.run import ChunkRun
from mert_backfill.library.paths import track_id
from mert_backfill.library.roots import Root
from mert_backfill.model.embedding import WindowEmbedding, track_vector
from mert_backfill.model.encoder import Encoder
from mert_backfill.model.info import ModelInfo
from mert_backfill.recipes import CANONICAL, RECIPES, Recipe
from mert_backfill.records.manifest import PendingTrack, write_manifest
from mert_backfill.results import Results
from mert_backfill.settings import Runtime
from mert_backfill.store.profile import make_profile
from support import model_files as files
from support.audio_files import sound_bytes, write_audio
from support.reference import decode, reference_vector

GOLDEN = Path(__file__).parents[1] / "golden"
GOLDEN_SEED = 7

RATES = (8000, 22050, 44100, 48000, 96000)
Track = tuple[str, float, int, int, float]
# format, seconds, rate, channels, leading silence in seconds
TRACKS: list[Track] = [
    ("wav", 3, 8000, 1, 0.0),
    ("flac", 79.9, 22050, 2, 2.5),
    ("wav", 80, 48000, 6, 3.3),
    ("mp3", 119, 44100, 1, 1.0),
    ("ogg", 120, 22050, 1, 0.5),
    ("m4a", 100, 44100, 2, 4.0),
    ("wav", 139, 8000, 2, 110.0),
    ("opus", 150, 24000, 1, 7.0),
    ("aiff", 121, 96000, 1, 0.0),
    ("flac", 400, 8000, 1, 12.34),
]


def music(seconds: float, rate: int, channels: int = 1, silence: float = 0.0) -> np.ndarray:
    """Return decaying chords with noise [shape=(n, channels)] after some silence."""
    time = np.arange(round(seconds * rate)) / rate
    chord = np.sin(2 * np.pi * 220 * time) + 0.5 * np.sin(2 * np.pi * 330 * time)
    noise = np.random.RandomState(channels).standard_normal(len(time))
    mono = 0.1 * np.exp(-3.0 * (time % 0.5)) * chord + 0.02 * noise
    samples = np.stack([np.roll(mono, 50 * channel) for channel in range(channels)], axis=1)
    samples[: round(silence * rate)] = 0
    return samples.astype(np.float32)


def engine_vector(
    windows: Sequence[np.ndarray], encoder: Encoder, recipe: Recipe = CANONICAL
) -> np.ndarray:
    """Return what the engine makes of the windows of a track."""
    lengths = [max(map(len, windows))] * len(windows) if recipe.is_padded else None
    results = encoder.encode(windows, lengths=lengths)
    return track_vector([r.final for r in results if isinstance(r, WindowEmbedding)])


def assert_same(vector: np.ndarray, expected: np.ndarray) -> None:
    """Check that two float16 vectors differ by one step in the last place at most."""
    assert vector.dtype == expected.dtype == np.float16
    assert vector.shape == expected.shape
    apart = np.abs(vector.astype(np.float64) - expected.astype(np.float64))
    assert np.all(apart <= np.spacing(np.abs(expected)).astype(np.float64))
    a, b = vector.astype(np.float64), expected.astype(np.float64)
    assert a @ b / np.sqrt((a @ a) * (b @ b)) > 0.999999


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[files.Kind, Path]:
    return {
        kind: files.write_model(tmp_path_factory.mktemp(kind), kind, seed=GOLDEN_SEED)
        for kind in files.KINDS
    }


@pytest.fixture(scope="module")
def encoder_of(models: dict[files.Kind, Path]) -> Callable[[files.Kind], Encoder]:
    encoders = {
        kind: Encoder(files.inspect_folder(folder), device="cpu") for kind, folder in models.items()
    }
    return lambda kind: encoders[kind]


def check_tracks(
    tracks: Iterable[Track],
    folder: Path,
    models: dict[files.Kind, Path],
    encoder_of: Callable[[files.Kind], Encoder],
    *,
    recipe: Recipe = CANONICAL,
) -> None:
    """Check tracks against a recipe's reference, under both types of model."""
    identical: list[np.ndarray] = []
    for ending, seconds, rate, channels, silence in tracks:
        path = folder / f"track.{ending}"
        write_audio(path, music(seconds, rate, channels, silence), rate)
        windows, decoded = prepare_track(str(path), recipe).windows, decode(str(path))
        for kind in files.KINDS:
            vector = engine_vector(windows, encoder_of(kind), recipe)
            expected = reference_vector(decoded, models[kind], recipe.name)
            assert_same(vector, expected)
            identical.append(vector == expected)
    assert np.mean(identical) >= 0.999


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_engine_equals_the_reference(
    tmp_path: Path,
    models: dict[files.Kind, Path],
    encoder_of: Callable[[files.Kind], Encoder],
    recipe: Recipe,
) -> None:
    check_tracks(TRACKS, tmp_path, models, encoder_of, recipe=recipe)


@pytest.mark.parametrize("kind", files.KINDS)
def test_the_recipes_differ_from_80_seconds_on(
    tmp_path: Path,
    kind: files.Kind,
    models: dict[files.Kind, Path],
    encoder_of: Callable[[files.Kind], Encoder],
) -> None:
    vectors: dict[float, dict[str, bytes]] = {}
    for seconds in (79.9, 80):
        path = tmp_path / f"{seconds}.wav"
        write_audio(path, music(seconds, 8000, silence=1), 8000)
        vectors[seconds] = {
            name: engine_vector(
                prepare_track(str(path), recipe).windows, encoder_of(kind), recipe
            ).tobytes()
            for name, recipe in RECIPES.items()
        }
    assert len(set(vectors[79.9].values())) == 1
    assert len(set(vectors[80].values())) == len(RECIPES)


@pytest.mark.parametrize("ending", ["mp3", "flac"])
def test_engine_equals_the_reference_where_one_decoder_stops_early(
    tmp_path: Path,
    models: dict[files.Kind, Path],
    encoder_of: Callable[[files.Kind], Encoder],
    ending: str,
) -> None:
    path = tmp_path / f"track.{ending}"
    content = bytearray(sound_bytes(music(9, 22050), 22050, f".{ending}"))
    third = len(content) // 3
    content[third : third + 1200] = bytes(1200)
    path.write_bytes(content)
    windows, decoded = prepare_track(str(path)).windows, decode(str(path))
    assert len(windows[0]) > 8 * 24000
    for kind in files.KINDS:
        expected = reference_vector(decoded, models[kind])
        assert_same(engine_vector(windows, encoder_of(kind)), expected)


@pytest.mark.soak
@pytest.mark.parametrize("ending", ["wav", "flac", "mp3", "m4a", "aiff", "ogg", "opus"])
def test_engine_equals_the_reference_in_every_combination(
    tmp_path: Path,
    models: dict[files.Kind, Path],
    encoder_of: Callable[[files.Kind], Encoder],
    ending: str,
) -> None:
    lengths = (3, 79.9, 80, 119, 120, 139, 150, 400)
    rates = {"mp3": (8000, 22050, 44100, 48000), "opus": (8000, 48000)}.get(ending, RATES)
    widths = (1, 2) if ending == "mp3" else (1, 2, 6)
    tracks = [
        (ending, seconds, rate, channels, 0.6 + seconds / 50)
        for seconds, rate, channels in itertools.product(lengths, rates, widths)
    ]
    check_tracks(tracks, tmp_path, models, encoder_of)


def chunk_vectors(
    folder: Path, tracks: list[Path], model: ModelInfo, batch_size: int | None, workers: int
) -> dict[str, bytes]:
    """Run tracks as one chunk; return the bytes of each vector file, by the track's name."""
    stats = [(path, path.stat()) for path in tracks]
    ids = {path.name: track_id("music", path.name) for path in tracks}
    job = ChunkJob(
        name="part001-00000000",
        results=Results(folder / "results"),
        roots=(Root("music", tracks[0].parent),),
        model=model,
        profile=make_profile(CANONICAL, model),
        runtime=Runtime(
            device="cpu",
            batch_size=batch_size or "auto",
            decode_workers=workers,
            track_timeout_s=60.0,
        ),
        checkpoint_every=50,
        sidecars=(),
        released={},
        threads=1,
    )
    write_manifest(
        job.table,
        [
            PendingTrack(
                ids[path.name], str(path), "missing_meta", "", stat.st_size, stat.st_mtime_ns
            )
            for path, stat in stats
        ],
    )
    with DecoderPool(workers, timeout_s=60.0) as pool:
        encoder = Encoder(model, device="cpu", batch_size=batch_size, threads=1)
        ChunkRun(job, lambda: encoder, pool).run()
    return {name: job.store.vectors.path(ids[name]).read_bytes() for name in ids}


@pytest.mark.parametrize("kind", files.KINDS)
def test_batches_workers_chunks_and_order_change_no_byte(
    tmp_path: Path, kind: files.Kind, models: dict[files.Kind, Path]
) -> None:
    model = files.inspect_folder(models[kind])
    music_folder = tmp_path / "music"
    music_folder.mkdir()
    tracks = [music_folder / f"{number}.wav" for number in range(6)]
    for number, path in enumerate(tracks):  # some of equal length, so that batches can form
        write_audio(path, music(2 + number // 2, 16000, channels=number + 1), 16000)
    plain = chunk_vectors(tmp_path / "plain", tracks, model, None, 1)
    assert len(set(plain.values())) == len(tracks)
    assert chunk_vectors(tmp_path / "other", tracks[::-1], model, 4, 3) == plain
    halves = [
        chunk_vectors(tmp_path / "first", tracks[:2], model, 2, 2),
        chunk_vectors(tmp_path / "second", tracks[2:], model, 2, 1),
    ]
    assert halves[0] | halves[1] == plain


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("kind", files.KINDS)
def test_golden_vectors(
    tmp_path: Path,
    kind: files.Kind,
    models: dict[files.Kind, Path],
    encoder_of: Callable[[files.Kind], Encoder],
    recipe: Recipe,
) -> None:
    samples = music(90, 24000, silence=1.5)[:, 0]
    golden_file = GOLDEN / f"{recipe.name}.json"
    if os.environ.get("MERT_BACKFILL_WRITE_GOLDEN"):
        known = json.loads(golden_file.read_text()) if golden_file.exists() else {}
        known[kind] = reference_vector((samples, 24000), models[kind], recipe.name).tolist()
        golden_file.write_text(json.dumps(known, indent=1) + "\n")
    golden = np.array(json.loads(golden_file.read_text())[kind], np.float16)
    path = tmp_path / "golden.wav"
    soundfile.write(path, samples, 24000, subtype="FLOAT")
    windows = prepare_track(str(path), recipe).windows
    assert_same(engine_vector(windows, encoder_of(kind), recipe), golden)
    assert_same(reference_vector(decode(str(path)), models[kind], recipe.name), golden)
