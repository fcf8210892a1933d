"""A chunk of small tracks, and stand-ins for what decodes and embeds them."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mert_backfill.audio.decode import prepare_track
from mert_backfill.audio.prepared import DecodeResult, TrackDecoder
from mert_backfill.chunk.finish import finish_chunk
from mert_backfill.chunk.job import ChunkJob
from mert_backfill.chunk.run import ChunkRun
from mert_backfill.failures import TrackError
from mert_backfill.library.paths import track_id
from mert_backfill.library.roots import Root
from mert_backfill.model.embedding import WindowEmbedding, WindowEncoder
from mert_backfill.model.info import ModelInfo
from mert_backfill.plan.chunks import plan_chunks, write_chunks
from mert_backfill.recipes import CANONICAL
from mert_backfill.records.manifest import MISSING_META, PendingTrack
from mert_backfill.results import Results
from mert_backfill.settings import Runtime
from mert_backfill.store.profile import Profile
from support.audio_files import music, write_audio

RATE = 24000  # the model's own: a window is as long as its file
DIMENSION = 8
ROOT_NAME = "lib"
FOLDER = Path(__file__).resolve().parent


class FakeEncoder:
    """Makes a vector of each window's first samples; `before` is called before each batch."""

    device = "cpu"
    precision = "float32"

    def __init__(
        self, tracks_per_batch: int = 1, before: Callable[[], object] = lambda: None
    ) -> None:
        self.tracks_per_batch = tracks_per_batch
        self.windows_seen = 0
        self._before = before

    def encode(
        self, windows: Sequence[np.ndarray], *, all_layers: bool = False
    ) -> list[WindowEmbedding | TrackError]:
        self._before()
        self.windows_seen += len(windows)
        return [WindowEmbedding(window[:DIMENSION].copy(), None) for window in windows]


class PlainDecoder:
    """Decodes in this process, one track at a time; `before` is called with each path."""

    def __init__(self, before: Callable[[str], object] = lambda path: None) -> None:
        self._before = before

    def decode(self, tracks: Iterator[tuple[str, str]]) -> Iterator[DecodeResult]:
        for identity, path in tracks:
            self._before(path)
            started = time.monotonic()
            try:
                prepared, error = prepare_track(path), None
            except TrackError as caught:
                prepared, error = None, caught
            yield DecodeResult(identity, time.monotonic() - started, prepared, error)


def write_track(path: Path, seed: int, length: int = 2400) -> None:
    """Write a WAV file of `length` samples, with its own sound."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, music(length / RATE, RATE, 1, seed=seed), RATE)


def make_job(folder: Path, lengths: Mapping[str, int] | Iterable[str], **changes: Any) -> ChunkJob:
    """Write tracks into ``folder/music`` and plan them as one chunk.

    `lengths` are the names of the tracks, and how many samples each has.
    """
    if not isinstance(lengths, Mapping):
        lengths = dict.fromkeys(lengths, 2400)
    music_folder = folder / "music"
    for seed, (name, length) in enumerate(lengths.items()):
        write_track(music_folder / name, seed, length)
    return plan_job(folder, lengths, **changes)


def plan_job(folder: Path, names: Iterable[str], **changes: Any) -> ChunkJob:
    """Plan files of ``folder/music`` as one chunk; `changes` replace fields of the job."""
    rows = []
    for name in names:
        path = folder / "music" / name
        status = path.stat()
        identity = track_id(ROOT_NAME, name)
        rows.append(
            PendingTrack(identity, str(path), MISSING_META, "", status.st_size, status.st_mtime_ns)
        )
    (chunk,) = plan_chunks(rows, len(rows))
    results = changes.pop("results", Results(folder / "results"))
    write_chunks(results.chunk_files, [chunk])
    values: dict[str, Any] = {
        "name": chunk.name,
        "results": results,
        "roots": (Root(ROOT_NAME, folder / "music"),),
        "model": _model(folder),
        "profile": PROFILE,
        "runtime": Runtime(device="cpu", decode_workers=1, track_timeout_s=60.0),
        "checkpoint_every": 2,
        "sidecars": (),
        "released": {},
        "threads": 1,
    }
    return ChunkJob(**{**values, **changes})


PROFILE = Profile(
    recipe=CANONICAL,
    name="canonical-00000000",
    fingerprint="0" * 64,
    identity={"weights_sha256": "0" * 64},
    dimension=DIMENSION,
    layers=1,
    model_name="fake",
    revision=None,
)


def _model(folder: Path) -> ModelInfo:
    return ModelInfo(
        name="fake",
        revision=None,
        folder=folder,
        architecture={},
        weight_files=(),
        weights_sha256="0" * 64,
        hidden_size=DIMENSION,
        layers=1,
        masked_spec_embed=False,
        is_demo=True,
    )


def run_once(
    job: ChunkJob,
    decoder: TrackDecoder | None = None,
    encoder: WindowEncoder | None = None,
) -> None:
    """Run the chunk in this process and write its tables."""
    ChunkRun(job, lambda: encoder or FakeEncoder(), decoder or PlainDecoder()).run()
    finish_chunk(job)


def statuses(job: ChunkJob) -> dict[str, str]:
    """Return the status of each track in the chunk's table, by its name."""
    with open(job.results.tracks_table(job.name), encoding="utf-8", newline="") as file:
        return {
            Path(row["path"]).name: row["status"] for row in csv.DictReader(file, delimiter="\t")
        }


def failures(job: ChunkJob) -> dict[str, dict[str, Any]]:
    """Return the records of the chunk's failures, by the name of the track."""
    lines = (job.results.chunk_failures(job.name)).read_text(encoding="utf-8").splitlines()
    records = map(json.loads, lines)
    return {Path(record["path"]).name: record for record in records}


def injected_environment(**orders: str) -> dict[str, str]:
    """Return the variables that make the processes of a run misbehave; see ``injected/``."""
    folders = [FOLDER / "injected", FOLDER.parent]
    return {"PYTHONPATH": os.pathsep.join(map(str, folders)), **orders}


def has_vector(job: ChunkJob, name: str) -> bool:
    return job.store.is_complete(track_id(ROOT_NAME, name))
