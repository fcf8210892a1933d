"""What changes numbers is said once: the code and the profile follow the same values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mert_backfill import recipes
from mert_backfill.audio.decode import prepare_track
from mert_backfill.audio.windows import find_windows
from mert_backfill.chunk.job import MEMORY_MB
from mert_backfill.errors import UserError
from mert_backfill.failures import Reason, TrackError
from mert_backfill.model.architecture import (
    OFFICIAL_ARCHITECTURES,
    check_receptive_field,
    read_architecture,
)
from mert_backfill.model.embedding import WindowEmbedding, track_vector
from mert_backfill.model.encoder import Encoder
from mert_backfill.model.info import ModelInfo
from mert_backfill.recipes import CANONICAL, RECIPES, Recipe, WindowRule
from mert_backfill.store.profile import make_profile
from mert_backfill.store.vectors import VectorStore
from support import model_files as files
from support.audio_files import write_audio

RATE = 1000
# Computed before the identity was built from the constants. A change here gives every existing
# store a new name, so all tracks are embedded again.
FINGERPRINTS = {
    "m-a-p/MERT-v1-95M": "5d6cd03d167300f6785a097cebdd707ff4ab1885a9bc1dca1a434c72340cdd2f",
    "m-a-p/MERT-v1-330M": "5fb86b3ad3bbec6a03804384a94b95af1d0d621e8b5dccf7e1185a0b7a9dae47",
    "post-norm": "e5d9af2d444367e678008f01cda1def7e7fc31fb00c95190ae1ce3dae5cc7780",
    "stable": "22cbabe0af10574690c121270f70f68151811bb695d51ee29ff114fda14e31d4",
}


def an_info(config: dict[str, Any]) -> ModelInfo:
    """Return a model of that config.json, with a weights' hash that is made up."""
    architecture = read_architecture(Path("config.json"), config)
    return ModelInfo(
        name="a model",
        revision=None,
        folder=Path("somewhere"),
        architecture=architecture,
        weight_files=(),
        weights_sha256="ab" * 32,
        hidden_size=architecture["hidden_size"],
        layers=architecture["num_hidden_layers"],
        masked_spec_embed=True,
        is_demo=False,
    )


SMALL = an_info(files.small_config("stable"))


def fingerprint(recipe: Recipe = CANONICAL) -> str:
    return make_profile(recipe, SMALL).fingerprint


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelInfo:
    return files.inspect_folder(files.write_model(tmp_path_factory.mktemp("model")))


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_fingerprints_stay_what_they_are(name: str) -> None:
    kind: files.Kind = "post-norm" if name in ("post-norm", "m-a-p/MERT-v1-95M") else "stable"
    config = files.small_config(kind)
    if name in OFFICIAL_ARCHITECTURES:
        config = files.official_config(kind)
    assert make_profile(CANONICAL, an_info(config)).fingerprint == FINGERPRINTS[name]


def test_a_recipe_is_found_by_its_name() -> None:
    assert {name: recipe.name for name, recipe in RECIPES.items()} == {
        name: name for name in ("canonical", "padded", "whole")
    }
    assert len({fingerprint(recipe) for recipe in RECIPES.values()}) == len(RECIPES)
    renamed = make_profile(replace(CANONICAL, name="other"), SMALL)
    assert renamed.name == f"other-{fingerprint()[:8]}"


def test_each_recipe_says_what_memory_it_takes() -> None:
    assert MEMORY_MB.keys() == RECIPES.keys()


# --- the windows' rule


# another value, and a track (its length and its leading silence in seconds) that shows it
RULE_CHANGES: dict[str, tuple[float, float, float]] = {
    "whole_below": (100, 90, 0),
    "long_from": (130, 135, 0),
    "short_core": (30, 100, 0),
    "long_core": (50, 150, 0),
    "intro": (5, 100, 0),
    "loud": (0.7, 100, 3),
    "late_from_end": (20, 100, 0),
    "late_after_core": (50, 100, 0),
    "late_to_end": (3, 100, 0),
    "longer_than": (2, 100, 98.5),
    "fallback": (0, 0.5, 0),
}


@pytest.mark.parametrize("field", [field.name for field in fields(WindowRule)])
def test_each_length_changes_the_windows_and_the_fingerprint(field: str) -> None:
    value, seconds, silence = RULE_CHANGES[field]
    assert CANONICAL.windows is not None
    rule = replace(CANONICAL.windows, **{field: value})  # type: ignore[arg-type]
    y = np.full(round(seconds * RATE), 0.5, np.float32)
    y[: round(silence * RATE)] = 0
    assert find_windows(y, RATE, rule) != find_windows(y, RATE, CANONICAL.windows)
    assert fingerprint(replace(CANONICAL, windows=rule)) != fingerprint()


def test_the_kept_seconds_are_those_of_the_recipe(tmp_path: Path) -> None:
    shorter = replace(CANONICAL, kept_seconds=100)
    assert fingerprint(shorter) != fingerprint()
    path = write_audio(tmp_path / "a.wav", np.full((130 * RATE, 1), 0.5, np.float32), RATE)
    assert prepare_track(str(path)).duration_s == 120
    assert prepare_track(str(path), shorter).duration_s == 100


# --- what all recipes have in common


def tone(folder: Path, seconds: float = 3.0) -> str:
    """Write a track at 22.05 kHz."""
    y = 0.3 * np.sin(np.arange(round(seconds * 22_050)) / 7)[:, None]
    return str(write_audio(folder / "tone.wav", y.astype(np.float32), 22_050))


def windows(folder: Path, model: ModelInfo) -> bytes:
    return b"".join(window.tobytes() for window in prepare_track(tone(folder)).windows)


def stored(folder: Path, model: ModelInfo) -> bytes:
    store = VectorStore(folder / "store", 3)
    store.write("0" * 20, track_vector([np.array([1, 2, 3], np.float32)]))
    return store.path("0" * 20).read_bytes()


def encoded(folder: Path, model: ModelInfo) -> bytes:
    window = np.linspace(0.1, 0.4, 1000, dtype=np.float32)
    (result,) = Encoder(model, device="cpu").encode([window])
    assert isinstance(result, WindowEmbedding)
    return result.final.tobytes()


def too_short(folder: Path, model: ModelInfo) -> bytes:
    with pytest.raises(TrackError) as caught:
        prepare_track(tone(folder, seconds=0.01))
    assert caught.value.reason is Reason.TOO_SHORT
    return caught.value.error.encode()


CONSTANTS: dict[str, tuple[object, Callable[[Path, ModelInfo], bytes]]] = {
    "SAMPLE_RATE": (16_000, windows),
    "RESAMPLING": ("soxr_mq", windows),
    "NORMALISE": (False, encoded),
    "VECTOR_DTYPE": ("float32", stored),
    "RECEPTIVE_FIELD": (500, too_short),
}


def test_every_constant_is_tried() -> None:
    tables = {"WINDOW_NAMES", "THREE_WINDOWS", "CANONICAL", "PADDED", "WHOLE", "RECIPES", "ONE_WAY"}
    said = {name for name in vars(recipes) if name.isupper() and not name.startswith("_")}
    assert said - tables == set(CONSTANTS)


@pytest.mark.parametrize("name", CONSTANTS)
def test_each_constant_changes_what_is_made_and_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: ModelInfo, name: str
) -> None:
    value, make = CONSTANTS[name]
    profile, made = fingerprint(), make(tmp_path, model)
    assert make(tmp_path, model) == made
    monkeypatch.setattr(recipes, name, value)
    assert make(tmp_path, model) != made
    if name == "RECEPTIVE_FIELD":  # it follows from the convolutions, which the profile names
        with pytest.raises(UserError, match="make a frame of 400 samples instead of 500"):
            check_receptive_field(Path("config.json"), SMALL.architecture)
    else:
        assert fingerprint() != profile


@pytest.mark.parametrize("word", recipes.ONE_WAY)
def test_each_word_changes_the_fingerprint(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    before = fingerprint()
    monkeypatch.setitem(recipes.ONE_WAY, word, "another way")
    assert fingerprint() != before


def test_the_pooling_changes_the_fingerprint() -> None:
    other: Any = SimpleNamespace(value="another way")
    assert fingerprint(replace(CANONICAL, pooling=other)) != fingerprint()
