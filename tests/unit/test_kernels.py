"""The kernels of a CPU are chosen by trying them, and a wrong one never is."""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mert_backfill.model import kernel_choice
from mert_backfill.model.embedding import WindowEmbedding
from mert_backfill.model.encoder import Encoder
from mert_backfill.model.kernel_choice import (
    PLAIN,
    TOLERANCES,
    Kernels,
    Part,
    Shape,
    Trial,
    Way,
    choose_kernels,
    find_kernels,
    try_in_a_process,
)
from mert_backfill.model.kernels import time_ways, try_kernels
from support import model_files as files

LARGE = Shape(1024, 16, 4096)
RATE = 24_000


def trials(**ways: tuple[float, float]) -> list[Trial]:
    """Return trials of the linear layers from seconds and error, beside an even attention."""
    return [
        *(Trial("linear", Way[name], *found) for name, found in ways.items()),
        Trial("attention", Way.TORCH, 1.0, 1e-7),
        Trial("attention", Way.ONEDNN, 1.0, 1e-7),
    ]


# --- what is chosen


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ({"TORCH": (1.0, 5e-7), "ONEDNN": (0.5, 7e-7)}, Way.ONEDNN),
        ({"TORCH": (1.0, 5e-7), "ONEDNN": (0.5, 1.3e-6)}, Way.ONEDNN),  # as on a Zen 5
        ({"TORCH": (1.0, 5e-7), "ONEDNN": (0.1, 4e-3)}, Way.TORCH),  # bfloat16, as with AMX
        ({"TORCH": (1.0, 5e-7), "ONEDNN": (0.1, 5e-4)}, Way.TORCH),  # TensorFloat-32
        ({"TORCH": (1.0, 5e-7), "ONEDNN": (0.1, 3.8)}, Way.TORCH),
        ({"TORCH": (1.0, 5e-7), "ONEDNN": (0.1, math.nan)}, Way.TORCH),
        ({"TORCH": (1.0, 5e-7), "ONEDNN": (0.8, 7e-7)}, Way.TORCH),  # that could be noise
        ({"TORCH": (1.0, 5e-7), "ONEDNN": (1.1, 7e-7)}, Way.TORCH),
        ({"TORCH": (1.0, 0.3), "ONEDNN": (1.1, 7e-7)}, Way.ONEDNN),  # torch's own is wrong
        ({"TORCH": (1.0, 0.3), "ONEDNN": (0.1, 0.3)}, Way.TORCH),
        ({}, Way.TORCH),
    ],
)
def test_the_fastest_right_way_is_chosen(
    found: dict[str, tuple[float, float]], chosen: Way
) -> None:
    assert choose_kernels(trials(**found), "float32") == Kernels(chosen, Way.TORCH)


def test_a_lower_precision_may_have_its_own_error_or_less() -> None:
    found = trials(TORCH=(1.0, 4e-3), ONEDNN=(0.7, 7e-7), FLOAT32=(0.4, 5e-7))
    assert choose_kernels(found, "bfloat16").linear is Way.FLOAT32
    slower = trials(TORCH=(0.2, 4e-3), ONEDNN=(0.7, 7e-7), FLOAT32=(0.4, 5e-7))
    assert choose_kernels(slower, "bfloat16") == PLAIN


def test_the_parts_are_chosen_one_by_one() -> None:
    found = [
        Trial("linear", Way.TORCH, 1.0, 1e-7),
        Trial("linear", Way.ONEDNN, 0.9, 1e-7),
        Trial("attention", Way.TORCH, 1.0, 1e-7),
        Trial("attention", Way.ONEDNN, 0.5, 1e-7),
    ]
    kernels = choose_kernels(found, "float32")
    assert kernels == Kernels(Way.TORCH, Way.ONEDNN)
    assert kernels.name == "attention by oneDNN"
    assert PLAIN.name == ""


# --- how ways are tried


def test_times_and_errors_of_kernels_that_are_made_up() -> None:
    exact = torch.tensor([[1.0, -4.0]], dtype=torch.float64)
    calls: list[Way] = []

    def kernel(way: Way, values: Sequence[float], work: int) -> Callable[[], torch.Tensor]:
        def compute() -> torch.Tensor:
            calls.append(way)
            math.factorial(work)
            return torch.tensor([values, [9.0, 9.0]])  # only the first row is compared

        return compute

    right, wrong = time_ways(
        "linear",
        {
            Way.TORCH: kernel(Way.TORCH, [1.0, -4.0], 20_000),
            Way.ONEDNN: kernel(Way.ONEDNN, [1.0, -4.4], 10),
        },
        exact,
    )
    assert (right.way, right.error) == (Way.TORCH, 0)
    assert wrong.error == pytest.approx(0.1)
    assert wrong.seconds < right.seconds
    assert calls[:4] == [Way.TORCH, Way.ONEDNN, Way.TORCH, Way.ONEDNN]
    assert choose_kernels([right, wrong], "float32") == PLAIN


def test_what_this_processor_takes_is_right_and_faster() -> None:
    shape = Shape(512, 8, 1024)
    for precision, ways in (("float32", 2), ("bfloat16", 3)):
        found = try_in_a_process(shape, precision)
        assert [(trial.part, trial.way) for trial in found[:2]] == [
            ("linear", Way.TORCH),
            ("linear", Way.ONEDNN),
        ]
        assert len(found) == 2 * ways
        kernels = choose_kernels(found, precision)
        by_way = {(trial.part, trial.way): trial for trial in found}
        chosen: dict[Part, Way] = {"linear": kernels.linear, "attention": kernels.attention}
        for part, way in chosen.items():
            assert by_way[part, Way.TORCH].error <= TOLERANCES[precision]
            assert by_way[part, way].error <= TOLERANCES[precision]
            assert by_way[part, way].seconds <= by_way[part, Way.TORCH].seconds


def test_a_trial_that_dies_leaves_torch_to_its_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kernel_choice, "python_command", lambda module: ["/bin/false"])
    assert try_in_a_process(LARGE, "float32") == []
    assert "torch's own are used" in caplog.text
    assert choose_kernels([], "float32") == PLAIN


# --- what is remembered


class Bench:
    """Counts how often kernels are tried."""

    def __init__(self, seconds: float = 0.5) -> None:
        self.tried = 0
        self._seconds = seconds

    def find(
        self,
        record: Path,
        *,
        shape: Shape = LARGE,
        precision: str = "float32",
        processor: str = "EPYC",
        torch_version: str = "2.13.0",
    ) -> Kernels:
        def try_them(shape: Shape, precision: str) -> list[Trial]:
            self.tried += 1
            return trials(TORCH=(1.0, 5e-7), ONEDNN=(self._seconds, 7e-7))

        return find_kernels(
            record,
            shape,
            precision,
            processor=processor,
            torch=torch_version,
            try_kernels=try_them,
        )


def test_a_choice_is_kept_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = tmp_path / ".state" / "kernels.json"
    with caplog.at_level(logging.INFO):
        assert Bench().find(record) == Kernels(Way.ONEDNN, Way.TORCH)
    assert caplog.messages == [
        "float32 on EPYC: linear by oneDNN (2.00 times as fast, error 7.0e-07), attention by torch"
    ]
    again = Bench(seconds=2.0)  # the machine is busy now: the vectors stay as they are
    assert again.find(record) == Kernels(Way.ONEDNN, Way.TORCH)
    assert again.tried == 0


@pytest.mark.parametrize(
    "change",
    [
        {"processor": "Xeon"},
        {"torch_version": "2.14.0"},
        {"precision": "bfloat16"},
        {"shape": replace(LARGE, inner=2048)},
    ],
)
def test_anything_else_is_tried_anew_and_kept_beside(
    tmp_path: Path, change: dict[str, str]
) -> None:
    record = tmp_path / "kernels.json"
    Bench().find(record)
    other = Bench(seconds=2.0)
    assert other.find(record, **change) == PLAIN  # type: ignore[arg-type]
    assert other.tried == 1
    assert len(json.loads(record.read_text())["choices"]) == 2
    assert Bench().find(record) == Kernels(Way.ONEDNN, Way.TORCH)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"choices": [{}]}', '{"choices": 3}'])
def test_a_damaged_record_is_no_record(tmp_path: Path, content: str) -> None:
    record = tmp_path / "kernels.json"
    record.write_text(content)
    bench = Bench()
    assert bench.find(record).linear is Way.ONEDNN
    assert bench.tried == 1
    assert len(json.loads(record.read_text())["choices"]) == 1


def test_a_small_model_is_not_worth_a_trial(tmp_path: Path) -> None:
    bench = Bench()
    assert bench.find(tmp_path / "kernels.json", shape=Shape(64, 4, 128)) == PLAIN
    assert bench.tried == 0
    assert list(tmp_path.iterdir()) == []


# --- what the ways compute


def noise(samples: int, seed: int) -> np.ndarray:
    return (0.1 * np.random.RandomState(seed).standard_normal(samples)).astype(np.float32)


LENGTHS = (4 * RATE, 500, RATE, 4 * RATE, *range(7777, RATE, 400))
WINDOWS = [noise(length, seed) for seed, length in enumerate(LENGTHS)]


def encode(
    folder: Path,
    kernels: Kernels,
    windows: Sequence[np.ndarray],
    precision: str = "float32",
    *,
    length: int | None = None,
) -> np.ndarray:
    """Encode windows, each filled up to `length` where one is given."""
    info = files.inspect_folder(folder)
    encoder = Encoder(info, device="cpu", precision=precision, threads=1, kernels=kernels)
    lengths = None if length is None else [length] * len(windows)
    results = encoder.encode(windows, lengths=lengths)
    return np.stack([result.final for result in results if isinstance(result, WindowEmbedding)])


@pytest.mark.parametrize("kind", files.KINDS)
def test_the_linear_layers_of_onednn_give_the_same_vectors(
    tmp_path: Path, kind: files.Kind
) -> None:
    folder = files.write_model(tmp_path, kind)
    expected = encode(folder, PLAIN, WINDOWS)
    found = encode(folder, Kernels(linear=Way.ONEDNN), WINDOWS)
    np.testing.assert_allclose(found, expected, atol=5e-6)
    assert np.mean(found.astype(np.float16) == expected.astype(np.float16)) >= 0.998
    # and a window's bytes are its own, whatever comes before it
    backwards = encode(folder, Kernels(linear=Way.ONEDNN), WINDOWS[::-1])[::-1]
    assert backwards.tobytes() == found.tobytes()


@pytest.mark.parametrize("kind", files.KINDS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_filled_up_windows_go_through_other_kernels_too(
    tmp_path: Path, kind: files.Kind, precision: str
) -> None:
    folder = files.write_model(tmp_path, kind)
    kernels = Kernels(Way.FLOAT32, Way.FLOAT32)
    expected = encode(folder, PLAIN, WINDOWS[:6], length=4 * RATE)
    found = encode(folder, kernels, WINDOWS[:6], precision, length=4 * RATE)
    np.testing.assert_allclose(found, expected, atol=5e-6 if precision == "float32" else 0.05)
    assert not np.allclose(found[1:3], encode(folder, kernels, WINDOWS[1:3], precision), atol=0.05)


ATTENTION = """
import sys
from pathlib import Path
import numpy as np
from test_kernels import WINDOWS, encode
from mert_backfill.model.kernel_choice import PLAIN, Kernels, Way
folder = Path(sys.argv[1])
expected = encode(folder, PLAIN, WINDOWS)
kernels = Kernels(Way.ONEDNN, Way.ONEDNN)
found = encode(folder, kernels, WINDOWS)
print(np.abs(found - expected).max())
print(np.mean(found.astype(np.float16) == expected.astype(np.float16)))
print(encode(folder, kernels, WINDOWS[::-1])[::-1].tobytes() == found.tobytes())
filled = [encode(folder, which, WINDOWS[:6], length=100000) for which in (PLAIN, kernels)]
print(np.abs(filled[1] - filled[0]).max())
"""


@pytest.mark.parametrize("kind", files.KINDS)
def test_the_attention_of_onednn_gives_the_same_vectors_where_it_is_float32(
    tmp_path: Path, kind: files.Kind
) -> None:
    folder = files.write_model(tmp_path, kind)
    done = subprocess.run(
        [sys.executable, "-c", ATTENTION, folder],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)]),
            "ONEDNN_MAX_CPU_ISA": "AVX2",  # as if this processor had no AMX
        },
        capture_output=True,
        text=True,
        check=True,
    )
    apart, same, ordered, filled = done.stdout.split()
    assert float(apart) < 5e-6
    assert float(same) >= 0.998
    assert ordered == "True"
    assert float(filled) < 5e-6


@pytest.mark.parametrize(
    "kernels",
    [Kernels(Way.FLOAT32, Way.TORCH), Kernels(Way.TORCH, Way.FLOAT32), Kernels(Way.ONEDNN)],
)
def test_parts_in_float32_bring_bfloat16_no_further_off(tmp_path: Path, kernels: Kernels) -> None:
    folder = files.write_model(tmp_path)
    exact = encode(folder, PLAIN, WINDOWS)
    plain = encode(folder, PLAIN, WINDOWS, "bfloat16")
    mixed = encode(folder, kernels, WINDOWS, "bfloat16")
    assert mixed.tobytes() != plain.tobytes()
    assert np.linalg.norm(mixed - exact) < 1.2 * np.linalg.norm(plain - exact)


def test_the_device_says_what_is_not_torchs_own(tmp_path: Path) -> None:
    info = files.inspect_folder(files.write_model(tmp_path))
    assert Encoder(info, device="cpu").device == "cpu"
    kernels = Kernels(linear=Way.ONEDNN)
    encoder = Encoder(info, device="cpu", kernels=kernels)
    assert encoder.device == "cpu (linear layers by oneDNN)"
    assert encoder.precision == "float32"


def test_all_ways_are_tried_in_this_process_too() -> None:
    found = try_kernels(Shape(64, 4, 128), "bfloat16")
    assert {(trial.part, trial.way) for trial in found} == {
        (part, way) for part in ("linear", "attention") for way in Way
    }
    errors = {(trial.part, trial.way): trial.error for trial in found}
    for part in ("linear", "attention"):
        assert 1e-4 < errors[part, Way.FLOAT32] <= 1.1 * errors[part, Way.TORCH] < 2e-2
