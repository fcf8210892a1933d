"""Which part of the machine's matrix multiplication rate the engine reaches, end to end.

The rate is measured on the shapes of the feed-forward layers (1024 x 4096) in the same run. The
floating-point operations of a canonical track (windows of 10, 40 and 10 s) are counted by torch
on the model itself; time is that of the whole chunk: decoding, model, writing.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from time import perf_counter

import torch
from parts import CACHE, full_model, machine, make_job, make_track
from torch.utils.flop_counter import FlopCounterMode
from transformers import HubertModel

from mert_backfill.audio.pool import DecoderPool
from mert_backfill.chunk.run import ChunkRun
from mert_backfill.model.encoder import Encoder
from mert_backfill.model.heap import keep_few_kernels
from mert_backfill.model.info import ModelInfo

TRACKS = [("gemm-a.mp3", 240), ("gemm-b.mp3", 240)]
FRAMES = 2999  # of the 40 s window
ROUNDS = 2


def gemm_rate(dtype: torch.dtype) -> float:
    """Return the rate of the model's largest matrix products (in FLOP/s)."""
    one = torch.randn(FRAMES, 1024).to(dtype)
    other = torch.nn.Linear(1024, 4096, bias=False, dtype=dtype)
    repeat = 20
    best = 0.0
    with torch.inference_mode():
        for _ in range(5):
            started = perf_counter()
            for _ in range(repeat):
                other(one)
            seconds = perf_counter() - started
            best = max(best, 2 * FRAMES * 1024 * 4096 * repeat / seconds)
    return best


def track_flop(model: HubertModel) -> int:
    """Count the operations of one canonical track, attention in its plain form."""
    model.set_attn_implementation("eager")  # the fused kernels are not counted
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        for seconds in (10, 40, 10):
            model(torch.zeros(1, seconds * 24000))
    model.set_attn_implementation("sdpa")
    return counter.get_total_flops()


def track_seconds(encoder: Encoder, tracks: list[Path], info: ModelInfo) -> float:
    """Return the time of a track in a chunk of these."""
    with tempfile.TemporaryDirectory() as folder, DecoderPool(1, timeout_s=600) as pool:
        job = make_job(Path(folder), tracks, info)
        started = perf_counter()
        ChunkRun(job, lambda: encoder, pool).run()
        return (perf_counter() - started) / len(tracks)


def main() -> None:
    info = full_model()
    tracks = [  # of different sound, or the second would take the vector of the first
        make_track(CACHE / "tracks" / name, seconds, seed=seed)
        for seed, (name, seconds) in enumerate(TRACKS)
    ]
    torch.set_num_threads(2)
    keep_few_kernels("bfloat16")  # float32 is as fast with them
    print(machine())
    flop = 0
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        encoder = Encoder(info, device="cpu", precision=precision, threads=2)
        flop = flop or track_flop(encoder.model)
        parts = []
        for _ in range(ROUNDS):
            rate = gemm_rate(dtype)
            seconds = track_seconds(encoder, tracks, info)
            rate = statistics.mean([rate, gemm_rate(dtype)])  # the machine's speed drifts
            parts.append(flop / seconds / rate)
            print(f"{precision}: {seconds:.1f} s a track, GEMM {rate / 1e9:.0f} GFLOP/s")
        print(
            f"{precision}: {flop / 1e12:.2f} TFLOP a track; fraction of the GEMM rate "
            f"{statistics.median(parts):.2f} (from {min(parts):.2f} to {max(parts):.2f})"
        )


if __name__ == "__main__":
    main()
