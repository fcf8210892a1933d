"""The guard proves a lower precision before it is used, once."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mert_backfill.failures import Reason, TrackError
from mert_backfill.model.embedding import WindowEmbedding
from mert_backfill.model.precision import compare_vectors, guard_precision
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


def test_cosines_and_neighbours_by_hand() -> None:
    reference = vectors([1, 0], [1, 1], [0, 3])
    assert compare_vectors(reference, reference) == (pytest.approx(1.0), 1.0)
    # longer vectors in the same directions are the same
    assert compare_vectors(reference, [7 * vector for vector in reference])[0] == pytest.approx(1)
    # 3-4-5: the cosine of [1, 0] with [3, 4] is 3/5
    cosine, _ = compare_vectors(reference, vectors([3, 4], [1, 1], [0, 1]))
    assert cosine == pytest.approx(0.6)


def test_the_overlap_counts_windows_with_the_same_neighbour() -> None:
    reference = vectors([1, 0], [1, 0.1], [0, 1], [0.1, 1])  # pairs 0-1 and 2-3
    moved = vectors([1, 0], [1, 0.1], [0, 1], [1, 0.05])  # the last went to the first two
    _, overlap = compare_vectors(reference, moved)
    # 0: 1 -> 3; 1: 0 -> 3; 2: 3 -> 1; 3: 2 -> 0 or 1
    assert overlap == 0.0
    _, overlap = compare_vectors(vectors([1, 0], [1, 0.1], [0, 1]), vectors([1, 0], [1, 2], [0, 1]))
    # 0: 1 in both; 1: 0 -> 2; 2: 1 in both
    assert overlap == pytest.approx(2 / 3)


def test_one_window_has_no_neighbours() -> None:
    assert compare_vectors(vectors([1, 0]), vectors([2, 0])) == (pytest.approx(1.0), 1.0)


def test_a_good_precision_is_recorded_and_told(
    record: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine(angle=0.01)
    with caplog.at_level(logging.INFO):
        guard(record, machine)
    assert machine.loaded == ["float32", "bfloat16"]
    (kept,) = json.loads(record.read_text())["checks"]
    assert kept["smallest_cosine"] == pytest.approx(np.cos(0.01), abs=1e-6)
    assert (kept["windows"], kept["neighbour_overlap"]) == (3, 1.0)
    assert (kept["profile"], kept["precision"], kept["device"]) == ("p", "bfloat16", "cpu")
    assert caplog.messages == [
        "bfloat16 against float32 on 3 windows: smallest cosine 0.999950, same nearest "
        "neighbour 100%"
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
    assert json.loads(record.read_text())["checks"][0]["windows"] == 3


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
