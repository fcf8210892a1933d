"""Peak memory of a chunk's processes against the length of the track, with the full 330M model.

Each length runs in processes of its own, as the workflow starts them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from parts import CACHE, full_model, machine, make_job, make_track

LENGTHS = [("3 min", "memory-180.mp3", 180), ("30 min", "memory-1800.mp3", 1800)]
LONGEST = ("3 hours", "memory-10800.mp3", 10800)


def peak_mib(track: Path) -> dict[str, float]:
    """Return the peak resident memory of the model's process and of the largest decoder."""
    done = subprocess.run(
        [sys.executable, __file__, str(track)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def run_one(track: Path) -> None:
    """Embed one track here, and print the peaks (in MiB)."""
    import resource

    from mert_backfill.chunk import ChunkRun
    from mert_backfill.decoder_pool import DecoderPool
    from mert_backfill.encoder import Encoder

    info = full_model()
    with tempfile.TemporaryDirectory() as folder:
        with DecoderPool(1, timeout_s=600) as pool:
            job = make_job(Path(folder), [track], info)
            ChunkRun(job, lambda: Encoder(info, device="cpu", threads=2), pool).run()
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
    for name, file, seconds in [*LENGTHS, LONGEST]:
        peaks = peak_mib(make_track(CACHE / "tracks" / file, seconds, rate=22050))
        total = sum(peaks.values())
        base = base or total
        print(
            f"{name}: model process {peaks['model']:.0f} MiB, decoder {peaks['decoder']:.0f} MiB, "
            f"both over those of 3 min: {total / base:.2f}"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run_one(Path(sys.argv[1]))
    else:
        main()
