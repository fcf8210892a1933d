"""How long a track takes, before any was embedded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mert_backfill.plan import guess as guess_module
from mert_backfill.plan.guess import guess_seconds, operations
from mert_backfill.recipes import CANONICAL, PADDED, WHOLE
from support.fakes import a_profile

# a model whose operations can be counted by hand: 4 samples are a frame
TINY: dict[str, Any] = {
    "hidden_size": 2,
    "intermediate_size": 3,
    "num_hidden_layers": 5,
    "conv_dim": [2, 2],
    "conv_kernel": [3, 2],
    "conv_stride": [2, 2],
}
CONVOLUTIONS = 2 * 12_000 * 2 * 1 * 3 + 2 * 6_000 * 2 * 2 * 2  # of a second


def by_hand(*lengths: int) -> int:
    total = 0
    for length in lengths:
        frames = 6_000 * length
        attention = 2 * 4 * 2 * 2 * frames + 2 * 2 * 2 * frames * frames
        feed_forward = 2 * 2 * 2 * 3 * frames
        total += CONVOLUTIONS * length + 5 * (attention + feed_forward)
    return total


def test_operations_are_those_of_the_windows_of_two_minutes() -> None:
    assert operations(CANONICAL, TINY) == by_hand(10, 40, 10)
    assert operations(PADDED, TINY) == by_hand(40, 40, 40)
    assert operations(WHOLE, TINY) == by_hand(120)


def test_the_guess_is_a_range_about_what_the_machine_did(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = replace(a_profile(), identity={"architecture": TINY})
    of_a_track = operations(CANONICAL, TINY)
    monkeypatch.setattr(guess_module, "measure_machine", lambda: of_a_track / 10)
    found = guess_seconds(profile)
    assert (found.shortest, found.longest) == pytest.approx((7, 30))


def test_a_machine_multiplies() -> None:
    assert 1e6 < guess_module.measure_machine() < 1e18
