"""Peak memory of a chunk's processes against the length of the track, with the full 330M model.

Each length runs in processes of its own, as the workflow starts them. Then come the longest track
that is one window, and a chunk of tracks of which each makes a window of another length.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from parts import CACHE, full_model, machine, make_job, make_track

SHORT = tuple(4 + 11 * number % 37 for number in range(20))  # each of another length
CASES = [  # name, lengths of the tracks (in seconds), precision
    ("3 min", (180,), "float32"),
    ("30 min", (1800,), "float32"),
    ("3 hours", (10800,), "float32"),
    ("79 s in one window", (79,), "float32"),
    ("20 tracks of 4 to 40 s", SHORT, "float32"),
    ("20 tracks of 4 to 40 s, bfloat16", SHORT, "bfloat16"),
]


def peak_mib(tracks: list[Path], precision: str) -> dict[str, float]:
    """Return the peak resident memory of the model's process and of the largest decoder."""
    done = subprocess.run(
        [sys.executable, __file__, precision, *map(str, tracks)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def run_one(tracks: list[Path], precision: str) -> None:
    """Embed a chunk of tracks here, and print the peaks (in MiB)."""
    import resource

    from mert_backfill.audio.pool import DecoderPool
    from mert_backfill.chunk.run import ChunkRun
    from mert_backfill.model.encoder import Encoder
    from mert_backfill.model.heap import keep_few_kernels

    keep_few_kernels(precision)
    info = full_model()
    with tempfile.TemporaryDirectory() as folder:
        with DecoderPool(1, timeout_s=600) as pool:
            job = make_job(Path(folder), tracks, info)
            ChunkRun(
                job, lambda: Encoder(info, device="cpu", precision=precision, threads=2), pool
            ).run()
        peaks = {
            name: resource.getrusage(who).ru_maxrss / 1024
            for name, who in (
                ("model", resource.RUSAGE_SELF),
                ("decoder", resource.RUSAGE_CHILDREN),
            )
        }
    print(json.dumps(peaks))


def main() -> None:
    full_model()
    print(machine())
    base = None
    for name, lengths, precision in CASES:
        tracks = [
            make_track(CACHE / "tracks" / f"memory-{seconds}.mp3", seconds, rate=22050)
            for seconds in lengths
        ]
        peaks = peak_mib(tracks, precision)
        total = sum(peaks.values())
        base = base or total
        print(
            f"{name}: model process {peaks['model']:.0f} MiB, decoder {peaks['decoder']:.0f} MiB, "
            f"both over those of 3 min: {total / base:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run_one([Path(track) for track in sys.argv[2:]], sys.argv[1])
    else:
        main()
