"""The model's arithmetic in torch, OpenVINO and ONNX Runtime: time, difference, memory.

Prints, for the windows of a canonical track (10, 40 and 10 s) in the full 330M shape: the time of
torch in float32 over that of each other way, the largest difference of the pooled vectors, the
part of float16 values of the track's vector that are identical, and what the conversion costs.
A way whose package is not installed is passed over. The project itself uses torch only:

    pip install openvino
    pip install onnx onnxscript onnxruntime
"""

from __future__ import annotations

import importlib.util
import resource
import shutil
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from parts import CACHE, full_model, machine, pair, told
from transformers import Wav2Vec2FeatureExtractor

from mert_backfill import recipes
from mert_backfill.model.embedding import WindowEmbedding, track_vector
from mert_backfill.model.encoder import Encoder
from mert_backfill.model.info import ModelInfo
from mert_backfill.model.weights import load_model

THREADS, ROUNDS = 2, 3
SECONDS = (10, 40, 10)

Run = Callable[[], list[np.ndarray]]


def windows() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.standard_normal(seconds * 24000).astype(np.float32) for seconds in SECONDS]


def with_torch(precision: str) -> Run:
    encoder = Encoder(full_model(), device="cpu", precision=precision, threads=THREADS)

    def run() -> list[np.ndarray]:
        outcomes = encoder.encode(windows())
        return [outcome.final for outcome in outcomes if isinstance(outcome, WindowEmbedding)]

    return run


def with_openvino(precision: str) -> Run:
    infer = compile_openvino(precision)
    return lambda: [infer(window) for window in windows()]


def compile_openvino(precision: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return what makes a vector of a window; kernels of lengths seen are kept, as by default."""
    import openvino

    graph = export_openvino()
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    properties = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": THREADS}
    compiled = openvino.Core().compile_model(graph, "CPU", properties)
    normalise = _feature_extractor(full_model())
    return lambda window: compiled([normalise(window)])[0][0]


def with_onnxruntime(_: str) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(
        export_onnx(), options, providers=["CPUExecutionProvider"]
    )
    normalise = _feature_extractor(full_model())
    return lambda: [session.run(None, {"samples": normalise(window)})[0][0] for window in windows()]


def _feature_extractor(info: ModelInfo) -> Callable[[np.ndarray], np.ndarray]:
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(info.folder)
    return lambda window: (
        extractor(window, sampling_rate=recipes.SAMPLE_RATE, return_tensors="np").input_values
    )


class Pooled(torch.nn.Module):
    """The model with its pooling, one graph with one output."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        return self.model(samples).last_hidden_state.mean(dim=1)


def export_openvino() -> Path:
    """Return the model as a file of OpenVINO; made once and kept."""
    import openvino

    path = CACHE / "openvino" / "model.xml"
    if not path.exists():
        graph = openvino.convert_model(
            Pooled(load_model(full_model())).eval(),
            example_input=torch.zeros(1, 240_000),
            input=[("samples", [1, -1])],
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        openvino.save_model(graph, path, compress_to_fp16=False)
    return path


def export_onnx() -> Path:
    """Return the model as an ONNX file; made once and kept."""
    path = CACHE / "onnx" / "model.onnx"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.onnx.export(
            Pooled(load_model(full_model())).eval(),
            (torch.zeros(1, 240_000),),
            path,
            input_names=["samples"],
            dynamic_shapes={"samples": {1: torch.export.Dim("n", min=24_000, max=2_000_000)}},
            dynamo=True,
            external_data=True,
        )
    return path


def check_lengths() -> None:
    """Print how far OpenVINO's vectors are from torch's, a window of one frame coming first."""
    infer = compile_openvino("float32")
    encoder = Encoder(full_model(), device="cpu", threads=THREADS)
    random = np.random.default_rng(0)
    gaps = []
    for samples in (400, 24_000, 48_000, 24_000):
        window = random.standard_normal(samples).astype(np.float32)
        (expected,) = encoder.encode([window])
        assert isinstance(expected, WindowEmbedding)
        gaps.append(f"{np.abs(infer(window) - expected.final).max():.1e}")
    print(f"OpenVINO float32, lengths 400, 24000, 48000, 24000: differences {', '.join(gaps)}")


def tell_cost(name: str, convert: Callable[[], object]) -> None:
    """Run a conversion in a process of its own, which prints its time and peak memory."""
    process = get_context("spawn").Process(target=_measure, args=(name, convert))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{name}: the conversion failed")


def _measure(name: str, convert: Callable[[], object]) -> None:
    started = perf_counter()
    convert()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name}: conversion {perf_counter() - started:.0f} s, peak memory {peak:.1f} GiB")


def main() -> None:
    print(machine(), flush=True)
    ways: dict[str, tuple[Callable[[str], Run], str]] = {"torch bfloat16": (with_torch, "bfloat16")}
    if importlib.util.find_spec("openvino"):
        shutil.rmtree(CACHE / "openvino", ignore_errors=True)
        tell_cost("OpenVINO", export_openvino)
        check_lengths()
        ways["OpenVINO float32"] = (with_openvino, "float32")
        ways["OpenVINO bfloat16"] = (with_openvino, "bfloat16")
    if importlib.util.find_spec("onnxruntime"):
        shutil.rmtree(CACHE / "onnx", ignore_errors=True)
        tell_cost("ONNX Runtime", export_onnx)
        ways["ONNX Runtime float32"] = (with_onnxruntime, "float32")
    plain = with_torch("float32")
    expected = plain()
    for name, (make, precision) in ways.items():
        started = perf_counter()
        run = make(precision)
        loading = perf_counter() - started
        found = run()
        gap = max(
            float(np.abs(one - other).max()) for one, other in zip(expected, found, strict=True)
        )
        same = np.mean(track_vector(expected) == track_vector(found))
        ratios = pair(plain, run, ROUNDS)
        print(told(f"time of torch float32 over time of {name}", ratios))
        print(
            f"  largest difference {gap:.1e}; identical float16 values {same:.2%}; "
            f"loading {loading:.0f} s",
            flush=True,
        )
        del run


if __name__ == "__main__":
    main()
