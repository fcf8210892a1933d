"""The pipeline with a tiny model over 500 mp3s of 30 s, against decoding and resampling alone.

Both use the same number of decoding processes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from parts import CACHE, machine, make_job, make_track, pair, told

from mert_backfill.audio.pool import DecoderPool
from mert_backfill.chunk.run import ChunkRun
from mert_backfill.demo.model import make_demo_model
from mert_backfill.failures import TrackError
from mert_backfill.model.embedding import WindowEmbedding
from mert_backfill.model.info import inspect_model
from mert_backfill.model.source import ModelSource

TRACKS, SECONDS, WORKERS, ROUNDS = 500, 30, 2, 3


class TinyEncoder:
    """Costs next to nothing, so that only the pipeline is measured."""

    device, precision, tracks_per_batch = "cpu", "float32", 1

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension

    def encode(
        self,
        windows: Sequence[np.ndarray],
        *,
        lengths: Sequence[int] | None = None,
        all_layers: bool = False,
    ) -> list[WindowEmbedding | TrackError]:
        return [WindowEmbedding(window[: self._dimension] + 1e-3) for window in windows]


def main() -> None:
    folder = CACHE / "short"
    first = [make_track(folder / f"{n:03d}.mp3", SECONDS, seed=n) for n in range(10)]
    tracks = []
    for number in range(TRACKS):
        path = folder / f"{number:03d}.mp3"
        if not path.exists():
            # cut shorter by a frame or two, so that no track has the audio of another
            data = first[number % 10].read_bytes()
            path.write_bytes(data[: len(data) - 1000 * (number // 10)])
        tracks.append(path)
    make_demo_model(CACHE / "tiny")
    info = inspect_model(ModelSource("tiny", CACHE / "tiny", None))

    def decode_alone() -> None:
        with DecoderPool(WORKERS, timeout_s=60) as pool:
            for _ in pool.decode((path.name, str(path)) for path in tracks):
                pass

    def run_pipeline() -> None:
        with tempfile.TemporaryDirectory() as results, DecoderPool(WORKERS, timeout_s=60) as pool:
            job = make_job(Path(results), tracks, info)
            run = ChunkRun(job, lambda: TinyEncoder(info.hidden_size), pool)
            run.run()

    ratios = pair(decode_alone, run_pipeline, ROUNDS)
    print(machine())
    print(told("tracks a second of the pipeline over those of decoding alone", ratios))


if __name__ == "__main__":
    main()
