"""The whole atlas of a large library: processor time of its job, and its peak memory.

For libraries of 13,000 and 100,000 tracks with vectors of 1,024 numbers, made by code: 1,000
groups of sounds, and in a hundred tracks one copy and one other encoding. Each size in a process
of its own. Read processor time, not the clock, where other work goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from time import perf_counter

import numpy as np
from scale import music

from mert_backfill.atlas.job import make_atlas
from mert_backfill.library.listing import list_library
from mert_backfill.model.info import ModelInfo
from mert_backfill.recipes import CANONICAL
from mert_backfill.records.tracks import TRACKS_HEADER
from mert_backfill.settings import Settings
from mert_backfill.store.profile import Profile, make_profile
from mert_backfill.store.vectors import open_store
from mert_backfill.system.tables import write_json, write_tsv

SIZES = (13_000, 100_000)
DIMENSION, GROUPS, A_CHUNK = 1_024, 1_000, 500
CACHE = Path(os.environ.get("MERT_BACKFILL_BENCH", "/tmp/mert-backfill-bench"))
LIMITS = {13_000: "90 s on two cores, and 3 GB", 100_000: "15 minutes on two cores"}


def profile_of(dimension: int) -> Profile:
    """Return the profile of a model that does not exist."""
    model = ModelInfo(
        name="none",
        revision=None,
        folder=Path("none"),
        architecture={"hidden_size": dimension},
        weight_files=(),
        weights_sha256="0" * 64,
        hidden_size=dimension,
        layers=1,
        masked_spec_embed=False,
        is_demo=False,
    )
    return make_profile(CANONICAL, model)


def settings_of(folder: Path, size: int) -> Settings:
    written = {
        "library": {"roots": [{"name": "bench", "path": str(music(CACHE, size))}]},
        "model": {"name": str(folder)},
    }
    return Settings.model_validate(written, context=folder)


def make_library(folder: Path, size: int) -> Settings:
    """Write meta.json, vectors and the chunks' tables, as runs leave them."""
    settings = settings_of(folder, size)
    profile = profile_of(DIMENSION)
    store = open_store(settings.results, profile)
    os.fsync = lambda fd: None  # the disk's own time
    numbers = np.random.default_rng(0)
    groups = numbers.normal(0, 1, (GROUPS, DIMENSION)).astype(np.float32)
    shared = numbers.normal(0, 8, DIMENSION).astype(np.float32)
    files = list_library(settings.library.roots, settings.library.extensions).files
    tracks: dict[str, dict[str, str]] = {}
    rows: list[list[object]] = []
    vector: np.ndarray = shared
    for place, file in enumerate(files):
        kind = place % 100
        if kind == 1:
            sound = rows[-1][7]  # a copy of the one before
        else:
            sound = f"{place:064x}"
            fresh = shared + groups[place % GROUPS] + numbers.normal(0, 1, DIMENSION)
            vector = vector + numbers.normal(0, 0.05, DIMENSION) if kind == 2 else fresh
        store.write(file.track_id, vector.astype(np.float32))
        tracks[file.path] = {"embedding": str(store.path(file.track_id)), "title": str(place)}
        values = {"status": "embedded", "duration_s": 100.0, "pcm_sha256": sound}
        values |= {"track_id": file.track_id, "path": file.path}
        rows.append([values.get(name) for name in TRACKS_HEADER])
    write_json(settings.results.meta, {"tracks": tracks})
    for start in range(0, len(rows), A_CHUNK):
        table = settings.results.tracks_table(f"part{start // A_CHUNK:03}-00000000")
        write_tsv(table, TRACKS_HEADER, rows[start : start + A_CHUNK])
    return settings


def make_here(folder: Path, size: int) -> None:
    """Make the atlas in this process; print what it took as JSON."""
    settings = settings_of(folder, size)
    wall, cpu = perf_counter(), time.process_time()
    make_atlas(settings, profile_of(DIMENSION), threads=2)
    wall, cpu = perf_counter() - wall, time.process_time() - cpu
    status = Path("/proc/self/status").read_text()  # getrusage would tell the parent's peak
    memory = int(status.split("VmHWM:")[1].split()[0]) / 2**20
    print(json.dumps({"wall": wall, "cpu": cpu, "memory": memory}))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("sizes", nargs="*", type=int, help="tracks; 13000 100000 if none")
    arguments.add_argument("--in", dest="folder", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.folder:
        make_here(given.folder, *given.sizes)
        return
    print(f"{date.today()}, load {os.getloadavg()[0]:.1f}")
    for size in given.sizes or SIZES:
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            make_library(Path(folder), size)
            command = [sys.executable, __file__, "--in", folder, str(size)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{size:>8,} tracks: {found['cpu']:.0f} s of processor, {found['wall']:.0f} s on "
                f"the clock, peak {found['memory']:.2f} GiB (asked for: {LIMITS.get(size, '-')})"
            )


if __name__ == "__main__":
    main()
