"""Whether OpenVINO would be worth it: the 330M graph in it against torch, end to end per track.

Needs `pip install openvino`, which the project itself does not use. Prints the time of torch over
that of OpenVINO for the windows of a canonical track (10, 40 and 10 s), the largest difference
of the pooled vectors, and what the conversion costs.
"""

from __future__ import annotations

import resource
from time import perf_counter

import numpy as np
import openvino
import torch
from parts import full_model, machine, pair, told

from mert_backfill.model import load_model

THREADS, ROUNDS = 2, 2


class Pooled(torch.nn.Module):
    """The model with its pooling, one graph with one output."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        return self.model(samples).last_hidden_state.mean(dim=1)


def main() -> None:
    torch.set_num_threads(THREADS)
    model = load_model(full_model())
    random = np.random.default_rng(0)
    windows = [
        random.standard_normal((1, seconds * 24000)).astype(np.float32) for seconds in (10, 40, 10)
    ]
    before = peak_mib()
    started = perf_counter()
    graph = openvino.convert_model(
        Pooled(model), example_input=torch.from_numpy(windows[0]), input=[("samples", [1, -1])]
    )
    converted = perf_counter() - started
    print(machine(), f"OpenVINO {openvino.__version__}")
    for precision in ("f32", "bf16"):
        started = perf_counter()
        compiled = openvino.Core().compile_model(
            graph,
            "CPU",
            {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": THREADS},
        )
        compiling = perf_counter() - started
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        found: dict[str, list[np.ndarray]] = {}

        def run_torch(dtype: torch.dtype = dtype, found: dict = found) -> None:
            enabled = dtype is not torch.float32
            with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=enabled):
                found["torch"] = [
                    model(torch.from_numpy(window)).last_hidden_state.float().mean(1).numpy()
                    for window in windows
                ]

        def run_openvino(compiled: openvino.CompiledModel = compiled, found: dict = found) -> None:
            found["openvino"] = [compiled(window)[0] for window in windows]

        run_torch()
        run_openvino()
        ratios = pair(run_torch, run_openvino, ROUNDS)
        gap = max(
            float(np.abs(one - other).max())
            for one, other in zip(found["torch"], found["openvino"], strict=True)
        )
        print(told(f"{precision}: time of torch over time of OpenVINO", ratios), flush=True)
        print(
            f"{precision}: largest difference {gap:.1e}; conversion {converted:.0f} s, compilation "
            f"{compiling:.0f} s, peak memory {peak_mib():.0f} MiB ({before:.0f} before)"
        )
        del compiled


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
