"""The engine against plain torch, on the same tracks and weights, at the full 330M shape.

The plain way: librosa.load of the whole file, one window after the other, torch as it is, in
bfloat16 by autocast. The engine: a chunk as the workflow runs it, with the kernels that it chooses
here, decoding ahead in a process of its own, vectors written to a store. Each runs in a process of
its own, in turn, in both precisions; the model is loaded before the clock starts. Processor seconds
are those of all processes: on a machine that does other things too they say more than the clock.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter

import numpy as np
from parts import CACHE, full_model, machine, make_job, make_track

ROUNDS = 2
TRACKS = [("engine.flac", 240), ("engine.mp3", 330), ("engine.wav", 200)]
PRECISIONS = ("float32", "bfloat16")
WAYS = ("plain", "engine")


def tracks() -> list[Path]:
    """Return the tracks; of different sound, or one would take the vector of another."""
    return [
        make_track(CACHE / "tracks" / name, seconds, seed=seed)
        for seed, (name, seconds) in enumerate(TRACKS)
    ]


def prepare_plain(precision: str) -> Callable[[], list[np.ndarray]]:
    """Load the model; return what embeds the tracks the plain way (all are longer than 120 s)."""
    import librosa
    import torch
    from transformers import Wav2Vec2FeatureExtractor

    from mert_backfill.model.weights import load_model

    info = full_model()
    model = load_model(info)
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(info.folder)

    def embed(path: Path) -> np.ndarray:
        y, rate = librosa.load(path, sr=None, mono=True)
        y = y[: int(120 * rate)]
        loud = int(np.argmax(np.abs(y) > 1e-4)) / rate
        vectors = []
        for start, end in ((loud, loud + 10), (40.0, 80.0), (105.0, 115.0)):
            window = y[int(start * rate) : int(end * rate)]
            window = librosa.resample(window, orig_sr=rate, target_sr=24000, res_type="soxr_hq")
            features = extractor(window, sampling_rate=24000, return_tensors="pt")
            lower = torch.autocast("cpu", torch.bfloat16)
            with torch.inference_mode(), lower if precision == "bfloat16" else nullcontext():
                states = model(features.input_values).last_hidden_state
            vectors.append(states.float().mean(1)[0].numpy())
        return np.mean(vectors, axis=0).astype(np.float16)

    return lambda: [embed(path) for path in tracks()]


def prepare_engine(precision: str) -> Callable[[], list[np.ndarray]]:
    """Load the model with the kernels for this machine; return what runs a chunk."""
    import torch

    from mert_backfill.audio.pool import DecoderPool
    from mert_backfill.chunk.run import ChunkRun
    from mert_backfill.model.encoder import Encoder
    from mert_backfill.model.heap import keep_few_kernels
    from mert_backfill.model.kernel_choice import Shape, find_kernels
    from mert_backfill.system.machine import cpu_name

    info = full_model()
    kernels = find_kernels(
        CACHE / "kernels.json",
        Shape.of(info.architecture),
        precision,
        processor=cpu_name(),
        torch=torch.__version__,
    )
    keep_few_kernels(precision, kernels)
    encoder = Encoder(info, device="cpu", precision=precision, threads=2, kernels=kernels)

    def run() -> list[np.ndarray]:
        with tempfile.TemporaryDirectory() as folder, DecoderPool(1, timeout_s=600) as pool:
            job = make_job(Path(folder), tracks(), info)
            ChunkRun(job, lambda: encoder, pool).run()
            store = job.store.vectors
            rows = job.table.read_text().splitlines()[1:]
            return [store.read(row.split("\t")[0]) for row in rows]

    return run


def run_one(way: str, precision: str, target: str) -> None:
    """Run one way here; write its vectors, and print its wall and its processor seconds."""
    import torch

    torch.set_num_threads(2)
    embed = (prepare_plain if way == "plain" else prepare_engine)(precision)
    before, started = os.times(), perf_counter()
    vectors = embed()
    wall, after = perf_counter() - started, os.times()
    np.save(target, np.stack(vectors))
    print(json.dumps([wall, sum(after[:4]) - sum(before[:4])]))


def measure(way: str, precision: str, target: Path) -> tuple[float, float]:
    """Run one way in a process of its own; return its wall and its processor seconds."""
    done = subprocess.run(
        [sys.executable, __file__, way, precision, target],
        capture_output=True,
        text=True,
        check=True,
    )
    wall, processor = json.loads(done.stdout.splitlines()[-1])
    return wall, processor


def main() -> None:
    full_model()
    tracks()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        vectors = {}
        for precision in PRECISIONS:
            seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
            for number in range(ROUNDS):
                for way in WAYS[:: 1 if number % 2 == 0 else -1]:
                    target = Path(folder, f"{way}-{precision}.npy")
                    seconds[way].append(measure(way, precision, target))
                    vectors[way, precision] = np.load(target)
            for way in WAYS:
                wall, processor = (statistics.median(of) for of in zip(*seconds[way], strict=True))
                print(f"{precision}, {way}: {wall:.1f} s, {processor:.1f} processor seconds")
            for name, part in (("time", 0), ("processor seconds", 1)):
                pairs = zip(seconds["plain"], seconds["engine"], strict=True)
                ratios = [plain[part] / engine[part] for plain, engine in pairs]
                print(
                    f"{precision}: {name} of the plain way over the engine's: "
                    f"{statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})"
                )
            for other in dict.fromkeys((precision, "float32")):
                same = np.mean(vectors["engine", precision] == vectors["plain", other])
                print(
                    f"{precision}: float16 values that are those of plain {other}: {same:.2%}",
                    flush=True,
                )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run_one(*sys.argv[1:])
    else:
        main()
