"""The harmony of a track, against plain calls of librosa."""

from __future__ import annotations

import warnings
from pathlib import Path

import librosa
import numpy as np
import pytest

from mert_backfill.audio import pool as pool_module
from mert_backfill.audio.decode import prepare_track
from mert_backfill.audio.harmony import (
    RATES,
    SHORTEST,
    find_harmony,
    harmonic_part,
    prepare_with_harmony,
)
from mert_backfill.audio.pool import DecoderPool
from mert_backfill.failures import Reason
from mert_backfill.recipes import WHOLE
from support.audio_files import music, write_audio

RATE = 22_050


def plain_reference(y: np.ndarray, rate: int) -> np.ndarray:
    """Return the 18 numbers as the definition says them."""
    chroma = librosa.feature.chroma_cqt(y=y, sr=rate, hop_length=512).mean(axis=1)
    tonnetz = librosa.feature.tonnetz(y=librosa.effects.harmonic(y), sr=rate).mean(axis=1)
    return np.concatenate([chroma / chroma.sum(), tonnetz])


@pytest.fixture(scope="module")
def song() -> np.ndarray:
    """Return four seconds of chords, with a click in each half second."""
    time = np.arange(4 * RATE) / RATE
    tones = [110.0, 138.6, 164.8, 440.0]
    y = sum(np.sin(2 * np.pi * tone * time) * (0.2 + 0.1 * (time > 2)) for tone in tones)
    y[:: RATE // 2] += 1
    return (np.asarray(y) / 2).astype(np.float32)


@pytest.mark.filterwarnings("ignore:n_fft")
@pytest.mark.parametrize("rate", [RATES.start, RATE, 44_100])
@pytest.mark.parametrize("seconds", [4, 0.3])
def test_it_is_that_of_librosa(song: np.ndarray, rate: int, seconds: float) -> None:
    y = song[: int(seconds * RATE)]
    found = find_harmony(y, rate)
    assert (found.shape, found.dtype.name) == ((18,), "float32")
    np.testing.assert_allclose(found, plain_reference(y, rate), atol=1e-5)
    assert found[:12].min() >= 0
    assert found[:12].sum(dtype=float) == pytest.approx(1, abs=1e-6)
    assert np.array_equal(find_harmony(y, rate), found)


@pytest.mark.parametrize("samples", [SHORTEST, 10_000, 4 * RATE])
def test_the_harmonic_part_is_that_of_librosa(song: np.ndarray, samples: int) -> None:
    y = song[:samples]
    np.testing.assert_allclose(harmonic_part(y), librosa.effects.harmonic(y), atol=1e-6)


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:n_fft", "ignore:Trying")
def test_what_has_no_harmony_has_none(song: np.ndarray) -> None:
    huge = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * np.float32(1e35)
    for y, rate in (
        (song, RATES.start - 1),
        (song, RATES.stop),
        (song[: SHORTEST - 1], RATE),
        (np.zeros(RATE, np.float32), RATE),
        (huge, RATE),
    ):
        found = find_harmony(y, rate)
        assert np.isnan(found).all()
        assert (found.shape, found.dtype.name) == ((18,), "float32")
    assert np.isfinite(find_harmony(song * np.float32(1e-30), RATE)).all()


def test_a_decoder_tells_it_where_it_is_wanted(tmp_path: Path, song: np.ndarray) -> None:
    sung, slow, broken = (tmp_path / f"{name}.wav" for name in ("sung", "slow", "broken"))
    write_audio(sung, song[:, None], RATE)
    write_audio(slow, music(3.0, 8000), 8000)
    broken.write_bytes(b"no sound")
    tracks = [(path.stem, str(path)) for path in (sung, slow, broken)]
    with DecoderPool(1, timeout_s=60, wants_harmony=lambda track: True, recipe=WHOLE) as pool:
        told = {result.track_id: result for result in pool.decode(tracks)}
    with DecoderPool(1, timeout_s=60, recipe=WHOLE) as pool:
        (plain,) = pool.decode(tracks[:1])
    track = told["sung"].prepared
    assert track is not None
    assert plain.prepared is not None
    assert (plain.prepared.harmony, plain.prepared.seconds_harmonic) == (None, None)
    assert track.pcm_sha256 == plain.prepared.pcm_sha256
    assert track.harmony is not None
    expected = prepare_with_harmony(str(sung), WHOLE).harmony
    assert expected is not None
    assert track.harmony.tolist() == expected.tolist()
    # librosa is imported for the first time, which is none of the decoding
    assert track.seconds_harmonic is not None
    assert told["sung"].seconds < track.seconds_harmonic
    none = told["slow"].prepared
    assert none is not None
    assert none.harmony is not None
    assert np.isnan(none.harmony).all()
    assert (none.remark, track.remark) == ("no_harmonic", "")
    assert told["broken"].error is not None
    assert told["broken"].error.reason is Reason.NOT_AUDIO


def test_it_has_time_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    write_audio(path, music(1.0, 8000), 8000)
    waited: list[float] = []
    wait = pool_module._Worker._wait

    def note(worker: pool_module._Worker, timeout_s: float) -> bool:
        waited.append(timeout_s)
        return wait(worker, timeout_s)

    monkeypatch.setattr(pool_module._Worker, "_wait", note)
    with DecoderPool(1, timeout_s=60, wants_harmony=lambda track: track == "b") as pool:
        list(pool.decode([("a", str(path)), ("b", str(path))]))
    assert waited[1:] == [60, 60 + pool_module.HARMONY_TIMEOUT_S]


def test_nothing_else_of_a_track_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_audio(path, music(1.0, 8000), 8000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain, both = prepare_track(str(path), WHOLE), prepare_with_harmony(str(path), WHOLE)
    assert (plain.window_names, plain.duration_s) == (both.window_names, both.duration_s)
    assert plain.pcm_sha256 == both.pcm_sha256
