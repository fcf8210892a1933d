"""What grows with the library, and how fast: no model, no sound, stand-ins for both.

For libraries of 1,000, 10,000 and 100,000 tracks (1,000,000 with ``--million``): the preview of a
fresh library, its scan and plan, all its chunks of 500 tracks, the rebuilt meta.json, its audit
and report, and the preview when nothing is left to do; each in a process of its own. Growth is
printed for each tenfold library: 10 is linear. Of the chunks that counts which each costs beside
its tracks: from its start until it asks for the first one, and from the last one to its tables.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from mert_backfill.audio.prepared import DecodeResult, PreparedTrack
from mert_backfill.chunk.finish import finish_chunk
from mert_backfill.chunk.job import ChunkJob
from mert_backfill.chunk.run import ChunkRun
from mert_backfill.failures import TrackError
from mert_backfill.health.jobs import audit_library, report_library
from mert_backfill.meta.rebuild import rebuild_library
from mert_backfill.model.embedding import WindowEmbedding
from mert_backfill.model.info import ModelInfo, inspect_model
from mert_backfill.model.source import ModelSource
from mert_backfill.plan.chunks import chunk_names, write_plan
from mert_backfill.plan.preview import take_preview
from mert_backfill.plan.scan import write_scan
from mert_backfill.recipes import CANONICAL
from mert_backfill.settings import Settings
from mert_backfill.store.profile import Profile, make_profile

SIZES = (1_000, 10_000, 100_000)
CHUNK, A_FOLDER, SOME = 500, 100, 5
STEPS = ("preview", "scan", "plan", "chunks", "rebuild", "audit", "report", "nothing to do")


def now() -> tuple[float, float]:
    """Return the time on the wall, and this process's time on the processor."""
    return perf_counter(), process_time()


class Encoder:
    """Gives the windows back."""

    device: str = "cpu"
    precision: str = "float32"
    tracks_per_batch: int = 16

    def encode(
        self,
        windows: Sequence[np.ndarray],
        *,
        lengths: Sequence[int] | None = None,
        all_layers: bool = False,
    ) -> list[WindowEmbedding | TrackError]:
        return [WindowEmbedding(window) for window in windows]


class Decoder:
    """Makes up a window of each path; notes when it is asked for the first."""

    def __init__(self, dimension: int) -> None:
        self._window = np.ones(dimension, np.float32)
        self.asked: list[tuple[float, float]] = []

    def decode(self, tracks: Iterator[tuple[str, str]]) -> Iterator[DecodeResult]:
        self.asked.append(now())
        for track, path in tracks:
            sound = hashlib.sha256(path.encode()).hexdigest()
            prepared = PreparedTrack(("core",), (self._window,), 120.0, 44_100, sound)
            yield DecodeResult(track, 0.0, prepared, None)


class Bench:
    """A library in a folder of its own, and the steps of the workflow on it."""

    def __init__(self, folder: Path, size: int) -> None:
        written = {
            "library": {"roots": [{"name": "bench", "path": str(music(folder.parent, size))}]},
            "chunking": {"size": CHUNK},
            "model": {"name": str(folder.parent / "tiny")},
        }
        self.settings = Settings.model_validate(written, context=folder)
        self.model: ModelInfo = inspect_model(ModelSource("tiny", folder.parent / "tiny", None))
        self.profile: Profile = make_profile(CANONICAL, self.model)

    def preview(self) -> None:
        take_preview(self.settings, self.profile)

    def scan(self) -> None:
        preview = take_preview(self.settings, self.profile)
        self.started = perf_counter()
        write_scan(self.settings, self.profile, preview.key, preview.fingerprint)

    def plan(self) -> None:
        write_plan(self.settings, self.profile, self.settings.results.plan)

    def chunks(self) -> list[list[float]]:
        """Do all chunks; return what each costs beside its tracks (in seconds, see `now`)."""
        os.fsync = lambda fd: None  # the disk's own time, which does not grow
        return [self._chunk(name) for name in chunk_names(self.settings.results.chunk_files)]

    def _chunk(self, name: str) -> list[float]:
        job = ChunkJob(
            name=name,
            results=self.settings.results,
            roots=self.settings.library.roots,
            model=self.model,
            profile=self.profile,
            runtime=self.settings.runtime,
            checkpoint_every=50,
            sidecars=(),
            released={},
            threads=1,
        )
        decoder, tracks_done = Decoder(self.profile.dimension), []
        started = now()
        ChunkRun(job, Encoder, decoder, lambda progress: tracks_done.append(now())).run()
        finish_chunk(job)
        cost = np.subtract(decoder.asked[0], started) + np.subtract(now(), tracks_done[-1])
        return cost.tolist()

    def rebuild(self) -> None:
        rebuild_library(self.settings, self.profile)

    def audit(self) -> None:
        audit_library(self.settings, self.profile)

    def report(self) -> None:
        report_library(self.settings, self.profile, chunk_names(self.settings.results.chunk_files))

    def nothing_to_do(self) -> None:
        preview = take_preview(self.settings, self.profile)
        assert preview.chunks_remaining == preview.tracks_pending == 0, preview


def music(cache: Path, size: int) -> Path:
    """Return a library of so many files, made once."""
    folder = cache / f"scale-{size}"
    if not (folder / "complete").exists():
        for number in range(0, size, A_FOLDER):
            below = folder / "music" / f"{number // A_FOLDER:05}"
            below.mkdir(parents=True, exist_ok=True)
            for track in range(number, min(number + A_FOLDER, size)):
                (below / f"Artist {track % 997} - Title {track}.mp3").write_bytes(b"x")
        (folder / "complete").touch()
    return folder / "music"


def do_step(step: str, folder: Path, size: int) -> None:
    """Do one step here; print its seconds, the peak memory (in MiB), and the chunks' costs."""
    bench = Bench(folder, size)
    work: Callable[[], list[list[float]] | None] = getattr(bench, step.replace(" ", "_"))
    bench.started = perf_counter()
    costs = work()
    seconds = perf_counter() - bench.started
    status = Path("/proc/self/status").read_text()  # getrusage would tell the parent's peak
    memory = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({"seconds": seconds, "memory": memory, "costs": costs}))


def measure(cache: Path, size: int) -> dict[str, dict[str, Any]]:
    """Do all steps with a library of so many tracks, each in a process of its own."""
    found = {}
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        for step in STEPS:
            command = [sys.executable, __file__, "--step", step, "--in", folder, str(size)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[step] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(name: str, values: Sequence[float], unit: str) -> str:
    """Return one line: the values, and how each compares with the one before."""
    growth = [f"{after / before:.1f}" for before, after in pairwise(values)]
    return (
        f"{name:<24}"
        + "".join(f"{value:>12.2f}" for value in values)
        + (f" {unit:<4}  x {', x '.join(growth)}" if growth else f" {unit}")
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("sizes", nargs="*", type=int, help="tracks; 1000 10000 100000 if none")
    arguments.add_argument("--million", action="store_true", help="a million tracks too")
    arguments.add_argument("--step", help=argparse.SUPPRESS)
    arguments.add_argument("--in", dest="folder", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.step:
        do_step(given.step, given.folder, *given.sizes)
        return
    # these import torch, which none of the steps needs
    from parts import CACHE, machine

    from mert_backfill.demo.model import make_demo_model

    sizes = [*(given.sizes or SIZES), *([1_000_000] if given.million else [])]
    make_demo_model(CACHE / "tiny")
    for size in sizes:
        music(CACHE, size)
    found = [measure(CACHE, size) for size in sizes]
    print(f"{machine()}, {date.today()}, load {os.getloadavg()[0]:.1f}")
    print(f"{'tracks':<24}" + "".join(f"{size:>12,}" for size in sizes) + "       growth")
    for step in STEPS:
        print(row(step, [steps[step]["seconds"] for steps in found], "s"))
    for step in STEPS:
        print(row(f"{step}, peak", [steps[step]["memory"] for steps in found], "MiB"))
    print(f"what a chunk costs beside its tracks (medians of {SOME} chunks, in ms)")
    for size, steps in zip(sizes, found, strict=True):
        for place, kind in enumerate(("wall", "processor")):
            costs = [1000 * cost[place] for cost in steps["chunks"]["costs"]]
            first, last = statistics.median(costs[:SOME]), statistics.median(costs[-SOME:])
            print(
                f"{size:>10,} tracks, {len(costs):>5} chunks, {kind:>9}: first {first:.0f}, "
                f"last {last:.0f}, x {last / first:.2f}; the longest {max(costs):.0f}"
            )


if __name__ == "__main__":
    main()
