"""How long a track takes on this machine, before any was embedded: a range, by its arithmetic.

What a model multiplies is known from its architecture, how fast this machine multiplies is tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from mert_backfill import recipes
from mert_backfill.recipes import Recipe
from mert_backfill.store.profile import Profile

# what the model itself takes lies between these times what the trial says: another library does its
# products, and what is not a product comes on top
_QUICKER, _SLOWER = 0.7, 3.0
_TRIAL = (512, 1024, 4096)  # about the shapes of the larger model
_TRIES = 3


@dataclass(frozen=True)
class Guess:
    """How long a track takes with all cores at the shortest and the longest (in seconds)."""

    shortest: float
    longest: float


def guess_seconds(profile: Profile) -> Guess:
    """Guess how long a track of two minutes takes on the processors of this machine."""
    seconds = operations(profile.recipe, profile.identity["architecture"]) / measure_machine()
    return Guess(_QUICKER * seconds, _SLOWER * seconds)


def operations(recipe: Recipe, architecture: Mapping[str, Any]) -> float:
    """Return the multiplications and additions that a track of two minutes takes.

    Parameters
    ----------
    recipe : Recipe
        Says which windows go through the model.
    architecture : mapping
        The fields of config.json.
    """
    hidden = architecture["hidden_size"]
    a_second, rate, channels = 0.0, float(recipes.SAMPLE_RATE), 1
    for out, kernel, stride in zip(
        *(architecture[f"conv_{what}"] for what in ("dim", "kernel", "stride")), strict=True
    ):
        rate /= stride
        a_second += 2 * rate * out * channels * kernel
        channels = out
    total = 0.0
    for length in _windows(recipe):
        frames = rate * length
        # four products of the attention, two behind it, and each frame with each other
        of_a_frame = 8 * hidden**2 + 4 * hidden * architecture["intermediate_size"]
        of_a_layer = frames * (of_a_frame + 4 * hidden * frames)
        total += a_second * length + architecture["num_hidden_layers"] * of_a_layer
    return total


def _windows(recipe: Recipe) -> list[int]:
    """Return the lengths of the windows of a track that is as long as what is kept (in seconds)."""
    rule = recipe.windows
    if rule is None:
        return [recipe.kept_seconds]
    core = rule.long_core if recipe.kept_seconds >= rule.long_from else rule.short_core
    lengths = [rule.intro, core, rule.late_from_end - rule.late_to_end]
    return [max(lengths)] * len(lengths) if recipe.is_padded else lengths


def measure_machine() -> float:
    """Return the multiplications and additions of float32 that all cores do in a second."""
    rows, inner, columns = _TRIAL
    left, right = np.ones((rows, inner), np.float32), np.ones((inner, columns), np.float32)
    best = min(_time(left, right) for _ in range(_TRIES))
    return 2 * rows * inner * columns / best


def _time(left: np.ndarray, right: np.ndarray) -> float:
    begin = perf_counter()
    np.matmul(left, right)
    return perf_counter() - begin
