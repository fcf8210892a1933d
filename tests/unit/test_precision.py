"""The guard proves a lower precision before it is used, once."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mert_backfill.failures import Reason, TrackError
from mert_backfill.model.embedding import WindowEmbedding
from mert_backfill.model.precision import Comparison, compare_vectors, guard_precision
from support.checks import refusal

WINDOWS = [np.array(window, np.float32) for window in ([3, 4, 0], [0, 1, 0], [0, 1, 0.5])]
ERROR = TrackError("embed", Reason.EMBED_ERROR, "not finite")


class Machine:
    """Stands for the models: windows are their own vectors, turned a little when lower."""

    def __init__(self, angle: float = 0.0, fails: Sequence[str] = ()) -> None:
        self._turn = np.array(
            [
                [np.cos(angle), -np.sin(angle), 0],
                [np.sin(angle), np.cos(angle), 0],
                [0, 0, 1],
            ]
        )
        self._fails = fails
        self.loaded: list[str] = []

    def encoder(self, precision: str) -> Any:
        self.loaded.append(precision)
        turn = np.eye(3) if precision == "float32" else self._turn
        fails = precision in self._fails

        class Encoder:
            def encode(self, windows: Sequence[np.ndarray]) -> list[Any]:
                vectors = [
                    WindowEmbedding((turn @ window).astype(np.float32)) for window in windows
                ]
                return [ERROR if fails and i == 0 else v for i, v in enumerate(vectors)]

        return Encoder()


def guard(
    record: Path,
    machine: Machine,
    *,
    profile: str = "p",
    precision: str = "bfloat16",
    device: str = "cpu",
    windows: Sequence[np.ndarray] = WINDOWS,
) -> None:
    guard_precision(record, profile, precision, device, lambda: windows, machine.encoder)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / ".state" / "precision.json"


def vectors(*rows: Sequence[float]) -> list[np.ndarray]:
    return [np.array(row, np.float32) for row in rows]


def test_cosines_and_distances_by_hand() -> None:
    reference = vectors([1, 0], [1, 1], [0, 3])
    same = compare_vectors(reference, reference)
    assert (same.windows, same.largest_distance, same.neighbour_overlap) == (3, 0, 1)
    assert same.smallest_cosine == pytest.approx(1)
    # 3-4-5: the cosine of [1, 0] with [3, 4] is 3/5
    turned = compare_vectors(reference, vectors([3, 4], [1, 1], [0, 3]))
    assert turned.smallest_cosine == pytest.approx(0.6)
    # the mean is [1, 2], so [1, 0] lies 2 from it, and [1.3, 0.4] 0.5 from [1, 0]
    reference = vectors([1, 0], [1, 2], [1, 4])
    moved = compare_vectors(reference, vectors([1.3, 0.4], [5, 5], [1, 4]))
    assert moved.largest_distance == pytest.approx(0.25)  # [1, 2] is the mean and has no distance


def test_the_cosine_hides_what_all_vectors_share() -> None:
    reference = vectors([100, 1], [100, -1], [100, 2])
    swapped = compare_vectors(reference, vectors([100, -1], [100, 1], [100, 2]))
    assert swapped.smallest_cosine > 0.999
    assert swapped.largest_distance == pytest.approx(6)  # 2 over 1/3, the mean being 2/3
    assert swapped.objection == "a difference above 0.15 of the distance"


def test_the_overlap_counts_the_nearest_that_are_the_same() -> None:
    # pairs 0-1 and 2-3 around a mean of 0, and one of the nearest is looked at
    reference = vectors([1, 0.1], [1, -0.1], [-1, 0.1], [-1, -0.1])
    assert compare_vectors(reference, reference).neighbour_overlap == 1
    # 1 and 2 have changed places: everybody has another neighbour
    moved = vectors([1, 0.1], [-1, 0.1], [1, -0.1], [-1, -0.1])
    assert compare_vectors(reference, moved).neighbour_overlap == 0


def test_of_many_windows_ten_neighbours_are_looked_at() -> None:
    around = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    reference = list(np.stack([np.cos(around), np.sin(around)], axis=1))
    moved = reference.copy()
    moved[0], moved[12] = moved[12], moved[0]  # opposite places: 5 on each side are near
    # these two have all ten others; the ten around each have one other of ten
    overlap = compare_vectors(reference, moved).neighbour_overlap
    assert overlap == pytest.approx((2 * 0 + 20 * 0.9 + 2 * 1) / 24)


def test_one_window_has_neither_neighbours_nor_a_distance() -> None:
    found = compare_vectors(vectors([1, 0]), vectors([2, 0]))
    assert (found.windows, found.largest_distance, found.neighbour_overlap) == (1, None, None)
    assert found.objection is None
    twins = compare_vectors(vectors([1, 2], [1, 2]), vectors([1, 2], [1, 2]))
    assert twins.largest_distance is None
    assert twins.objection is None


def test_a_good_precision_is_recorded_and_told(
    record: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine(angle=0.01)
    with caplog.at_level(logging.INFO):
        guard(record, machine)
    assert machine.loaded == ["float32", "bfloat16"]
    (kept,) = json.loads(record.read_text())["checks"]
    found = kept["comparison"]
    assert found["smallest_cosine"] == pytest.approx(np.cos(0.01), abs=1e-6)
    # [3, 4, 0] moves by 5 x 0.01 and lies 2.83 from the mean [1, 2, 1/6]
    assert found["largest_distance"] == pytest.approx(0.05 / np.sqrt(8 + 1 / 36), rel=1e-3)
    assert (found["windows"], found["neighbour_overlap"]) == (3, 1.0)
    assert kept["refused"] is None
    assert (kept["profile"], kept["precision"], kept["device"]) == ("p", "bfloat16", "cpu")
    assert caplog.messages == [
        "bfloat16 against float32 on 3 windows: smallest cosine 0.999950, largest difference "
        "0.018 of the distance, same nearest neighbours 100%"
    ]


def test_a_record_is_used_again(record: Path, caplog: pytest.LogCaptureFixture) -> None:
    guard(record, Machine())
    again = Machine(angle=1.0)
    with caplog.at_level(logging.INFO):
        guard(record, again)
    assert again.loaded == []
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("change", [{"profile": "q"}, {"precision": "float16"}, {"device": "cuda"}])
def test_anything_else_is_checked_again(record: Path, change: dict[str, str]) -> None:
    guard(record, Machine())
    again = Machine()
    guard(record, again, **change)  # type: ignore[arg-type]
    assert again.loaded == ["float32", change.get("precision", "bfloat16")]
    guard(record, first := Machine())  # nodes of a cluster share the record
    assert first.loaded == []


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"checks": [{"profile": "p"}]}', '{"checks": 3}']
)
def test_a_damaged_record_is_no_record(record: Path, content: str) -> None:
    record.parent.mkdir()
    record.write_text(content)
    machine = Machine()
    guard(record, machine)
    assert len(machine.loaded) == 2
    assert json.loads(record.read_text())["checks"][0]["comparison"]["windows"] == 3


@pytest.mark.parametrize(("cosine", "refused"), [(0.9989, True), (0.9991, False)])
def test_the_limit_is_0_999(record: Path, cosine: float, refused: bool) -> None:
    machine = Machine(angle=float(np.arccos(cosine)))
    if not refused:
        guard(record, machine)
        return
    told = refusal(lambda: guard(record, machine))
    assert told.startswith("runtime.precision: bfloat16 against float32 on 3 windows: smallest ")
    assert told.endswith("below 0.999, set it to float32")
    # and not only the first time
    again = Machine()
    assert refusal(lambda: guard(record, again)) == told
    assert again.loaded == []


class Shifted:
    """Stands for the models: each window is its own vector, moved by some noise when lower."""

    def __init__(self, noise: float) -> None:
        self._noise = noise

    def encoder(self, precision: str) -> Any:
        size = self._noise if precision != "float32" else 0.0
        random = np.random.RandomState(0)

        class Encoder:
            def encode(self, windows: Sequence[np.ndarray]) -> list[Any]:
                mean = np.mean(windows, axis=0)
                vectors = []
                for window in windows:
                    away = random.standard_normal(window.shape)
                    away *= size * np.linalg.norm(window - mean) / np.linalg.norm(away)
                    vectors.append(WindowEmbedding((window + away).astype(np.float32)))
                return vectors

        return Encoder()


# a large part that all share, and what tells them apart
LIBRARY = [
    (np.r_[100, np.random.RandomState(seed).standard_normal(50)]).astype(np.float32)
    for seed in range(24)
]


@pytest.mark.parametrize("noise", [0.05, 0.11, 0.149])
def test_what_bfloat16_really_does_is_accepted(record: Path, noise: float) -> None:
    guard(record, Shifted(noise), windows=LIBRARY)  # type: ignore[arg-type]
    (kept,) = json.loads(record.read_text())["checks"]
    assert kept["comparison"]["largest_distance"] == pytest.approx(noise, rel=1e-3)
    assert kept["comparison"]["neighbour_overlap"] > 0.88
    assert kept["refused"] is None


@pytest.mark.parametrize("noise", [0.151, 0.4])
def test_a_precision_that_moves_tracks_about_is_refused_in_spite_of_its_cosine(
    record: Path, noise: float
) -> None:
    told = refusal(lambda: guard(record, Shifted(noise), windows=LIBRARY))  # type: ignore[arg-type]
    assert told.startswith("runtime.precision: bfloat16 against float32 on 24 windows: smallest ")
    assert told.endswith("; a difference above 0.15 of the distance, set it to float32")
    (kept,) = json.loads(record.read_text())["checks"]
    assert kept["comparison"]["smallest_cosine"] > 0.999
    assert kept["refused"] == "a difference above 0.15 of the distance"


@pytest.mark.parametrize(("windows", "objects"), [(24, True), (12, True), (11, False)])
def test_other_neighbours_are_an_objection_where_there_are_enough(
    windows: int, objects: bool
) -> None:
    found = Comparison(windows, 0.1, 0.87, 0.9999)
    assert (found.objection == "fewer than 88% of the nearest neighbours") is objects
    assert replace(found, neighbour_overlap=0.89).objection is None


def test_values_that_are_no_numbers_are_refused(record: Path) -> None:
    machine = Machine(angle=float("nan"))
    assert "set it to float32" in refusal(lambda: guard(record, machine))


def test_a_window_that_only_float32_embeds(record: Path) -> None:
    told = refusal(lambda: guard(record, Machine(fails=["bfloat16"])))
    assert told.startswith("runtime.precision: bfloat16 fails on windows that float32 embeds; use")
    assert not record.exists()


@pytest.mark.parametrize("windows", [[], WINDOWS[:1]])
def test_nothing_to_compare_is_no_proof(record: Path, windows: list[np.ndarray]) -> None:
    machine = Machine(fails=["float32", "bfloat16"])
    guard(record, machine, windows=windows)
    assert not record.exists()
    guard(record, again := Machine())
    assert len(again.loaded) == 2
