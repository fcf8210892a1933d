"""The engine against the plain way, on the same tracks and weights, at the full 330M shape.

The plain way: librosa.load of the whole file, one window after the other. The engine: a chunk as
the workflow runs it, decoding ahead in a process of its own, vectors written to a store. The
model is loaded before the clock starts on both sides.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import librosa
import numpy as np
import torch
from parts import CACHE, full_model, machine, make_job, make_track, pair, told
from transformers import Wav2Vec2FeatureExtractor

from mert_backfill.audio.pool import DecoderPool
from mert_backfill.chunk.run import ChunkRun
from mert_backfill.model.encoder import Encoder
from mert_backfill.model.heap import keep_few_kernels

ROUNDS = 2
TRACKS = [("engine.flac", 240), ("engine.mp3", 330), ("engine.wav", 200)]


def plain(model: torch.nn.Module, extractor: Wav2Vec2FeatureExtractor, path: Path) -> np.ndarray:
    """Embed one track the plain way; every track here is longer than 120 s."""
    y, rate = librosa.load(path, sr=None, mono=True)
    y = y[: int(120 * rate)]
    loud = int(np.argmax(np.abs(y) > 1e-4)) / rate
    vectors = []
    for start, end in ((loud, loud + 10), (40.0, 80.0), (105.0, 115.0)):
        window = y[int(start * rate) : int(end * rate)]
        window = librosa.resample(window, orig_sr=rate, target_sr=24000, res_type="soxr_hq")
        features = extractor(window, sampling_rate=24000, return_tensors="pt")
        with torch.inference_mode():
            vectors.append(model(features.input_values).last_hidden_state.mean(1)[0].numpy())
    return np.mean(vectors, axis=0).astype(np.float16)


def main() -> None:
    info = full_model()
    tracks = [  # of different sound, or one would take the vector of another
        make_track(CACHE / "tracks" / name, seconds, seed=seed)
        for seed, (name, seconds) in enumerate(TRACKS)
    ]
    keep_few_kernels("float32")
    encoder = Encoder(info, device="cpu", threads=2)
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(info.folder)
    vectors: dict[str, list[np.ndarray]] = {}

    def run_plain() -> None:
        vectors["plain"] = [plain(encoder.model, extractor, path) for path in tracks]

    def run_engine() -> None:
        with tempfile.TemporaryDirectory() as folder, DecoderPool(1, timeout_s=600) as pool:
            job = make_job(Path(folder), tracks, info)
            ChunkRun(job, lambda: encoder, pool).run()
            store = job.store.vectors
            rows = job.table.read_text().splitlines()[1:]
            vectors["engine"] = [store.read(row.split("\t")[0]) for row in rows]

    ratios = pair(run_plain, run_engine, ROUNDS)
    same = np.mean(np.stack(vectors["plain"]) == np.stack(vectors["engine"]))
    print(machine())
    print(told("time of the plain way over time of the engine", ratios))
    print(f"identical float16 values: {same:.4%}")


if __name__ == "__main__":
    main()
