"""What the benchmarks share: the full-size random model, music made by code, paired timing."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import soundfile
import torch

from mert_backfill.chunk.job import ChunkJob
from mert_backfill.demo.model import PREPROCESSOR, seeded_tensors
from mert_backfill.library.paths import track_id
from mert_backfill.library.roots import Root
from mert_backfill.model.architecture import OFFICIAL_ARCHITECTURES
from mert_backfill.model.info import ModelInfo, inspect_model
from mert_backfill.model.source import ModelSource
from mert_backfill.recipes import CANONICAL
from mert_backfill.records.manifest import PendingTrack, write_manifest
from mert_backfill.results import Results
from mert_backfill.settings import Runtime
from mert_backfill.store.profile import make_profile

FULL = "m-a-p/MERT-v1-330M"
CACHE = Path(os.environ.get("MERT_BACKFILL_BENCH", "/tmp/mert-backfill-bench"))


def full_model() -> ModelInfo:
    """Return the 330M shape with seeded random weights; made once and kept."""
    folder = CACHE / "full-model"
    if not (folder / "pytorch_model.bin").exists():
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "model_type": "mert_model",
            "sample_rate": 24000,
            "feature_extractor_cqt": False,
            "deepnorm": False,
            "mask_time_prob": 0.05,
            "mask_feature_prob": 0.0,
            **OFFICIAL_ARCHITECTURES[FULL],
        }
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
        torch.save(dict(seeded_tensors(config, 0)), folder / "new.bin")
        (folder / "new.bin").rename(folder / "pytorch_model.bin")
    return inspect_model(ModelSource(str(folder), folder, None), hash_cache=CACHE / "hashes.json")


def make_track(path: Path, seconds: float, *, rate: int = 44100, seed: int = 0) -> Path:
    """Write a stereo track of noise and a tone, in the format that the name says."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    with soundfile.SoundFile(path, "w", samplerate=rate, channels=2) as file:
        for second in range(round(seconds)):
            times = second + np.arange(rate) / rate
            tone = 0.3 * np.sin(2 * np.pi * (110 + seed) * times)[:, None]
            file.write(tone + 0.05 * random.standard_normal((rate, 2)))
    return path


def pair(one: Callable[[], object], other: Callable[[], object], rounds: int) -> list[float]:
    """Time two calls in turn; return the time of the first over that of the second, by round."""
    ratios = []
    for number in range(rounds):
        calls = (one, other) if number % 2 == 0 else (other, one)
        seconds = {}
        for call in calls:
            started = perf_counter()
            call()
            seconds[call] = perf_counter() - started
        ratios.append(seconds[one] / seconds[other])
    return ratios


def told(name: str, ratios: list[float]) -> str:
    """Return the median and the range of some ratios on one line."""
    return (
        f"{name}: {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f}, "
        f"{len(ratios)} rounds)"
    )


def machine() -> str:
    """Return the machine on one line."""
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return f"{cpu}, {os.cpu_count()} cores, torch {torch.__version__}"


def make_job(folder: Path, tracks: list[Path], model: ModelInfo, threads: int = 2) -> ChunkJob:
    """Return a chunk of some tracks, with an empty results folder."""
    rows = []
    for path in tracks:
        stat = path.stat()
        identity = track_id("bench", path.name)
        rows.append(
            PendingTrack(identity, str(path), "missing_meta", "", stat.st_size, stat.st_mtime_ns)
        )
    job = ChunkJob(
        name="part001-00000000",
        results=Results(folder / "results"),
        roots=(Root("bench", tracks[0].parent),),
        model=model,
        profile=make_profile(CANONICAL, model),
        runtime=Runtime(device="cpu", track_timeout_s=600.0),
        checkpoint_every=50,
        sidecars=(),
        released={},
        threads=threads,
    )
    write_manifest(job.table, rows)
    return job
