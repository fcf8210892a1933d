"""A small library, its settings, and chunks of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mert_backfill.chunk.job import ChunkJob
from mert_backfill.keys import Section
from mert_backfill.library.paths import track_id
from mert_backfill.library.roots import Root
from mert_backfill.model.source import ModelSource
from mert_backfill.plan.chunks import plan_chunks
from mert_backfill.records.manifest import MISSING_META, PendingTrack, write_manifest
from mert_backfill.results import Results
from mert_backfill.settings import Runtime, Settings
from mert_backfill.store.profile import Profile
from support import ROOT_NAME
from support.audio_files import music, write_audio
from support.fakes import CHUNK, RATE, a_model, a_profile, prepared

RUNTIME = Runtime(device="cpu", decode_workers=1, track_timeout_s=60.0)
LENGTH = 2400  # samples of a sound, unless told otherwise


def changed(settings: Settings, **values: Any) -> Settings:
    """Return settings with other values for some keys, each in whichever section it is."""
    for key, value in values.items():
        if key in Settings.model_fields:
            settings = settings.model_copy(update={key: value})
            continue
        name, part = next(
            (name, part)
            for name, part in settings
            if isinstance(part, Section) and key in type(part).model_fields
        )
        settings = settings.model_copy(update={name: part.model_copy(update={key: value})})
    return settings


@dataclass
class Library:
    """Files under ``music``; what is found out about them goes under ``results``."""

    folder: Path
    profile: Profile = field(default_factory=a_profile)

    @property
    def music(self) -> Path:
        return self.folder / "music"

    @property
    def results(self) -> Results:
        return Results(self.folder / "results")

    @property
    def root(self) -> Root:
        return Root(ROOT_NAME, self.music)

    def add(self, *names: str, content: str | None = None) -> None:
        """Write files for a `FakeDecoder`; by default each has a content of its own."""
        self.music.mkdir(parents=True, exist_ok=True)
        for name in names:
            (self.music / name).write_text(content or f"audio of {name}")

    def add_sounds(self, names: Mapping[str, int] | Sequence[str]) -> None:
        """Write WAV files, each with its own sound; a mapping tells how many samples each has."""
        lengths = names if isinstance(names, Mapping) else dict.fromkeys(names, LENGTH)
        for seed, (name, length) in enumerate(lengths.items()):
            write_track(self.music / name, seed, length)

    def id(self, name: str) -> str:
        return track_id(ROOT_NAME, name)

    def row(self, name: str) -> PendingTrack:
        stat = os.stat(self.music / name)
        path = str(self.music / name)
        return PendingTrack(self.id(name), path, MISSING_META, "", stat.st_size, stat.st_mtime_ns)

    def vector_of(self, name: str) -> np.ndarray:
        """Return the vector that `FakeDecoder` and `FakeEncoder` make of a file."""
        return prepared((self.music / name).read_bytes()).windows[0].astype(np.float16)

    def settings(self, **changes: Any) -> Settings:
        written = {
            "library": {
                "roots": [{"name": ROOT_NAME, "path": str(self.music)}],
                "extensions": [".mp3"],
            },
            "chunking": {"size": 2},
            "runtime": {"track_timeout_s": 60},
        }
        settings = Settings.model_validate(written, context=self.folder)
        model = ModelSource("tiny", Path("tiny"), None)
        return changed(settings, **{"model": model, **changes})

    def planned(self, chunk: str, **changes: Any) -> ChunkJob:
        """Return the job of a chunk whose file is written; `changes` replace fields of it."""
        job = ChunkJob(
            name=chunk,
            results=self.results,
            roots=(self.root,),
            model=a_model(),
            profile=self.profile,
            runtime=RUNTIME,
            checkpoint_every=50,
            sidecars=(),
            released={},
            threads=1,
        )
        return replace(job, **changes)

    def job(self, *names: str, chunk: str = CHUNK, **changes: Any) -> ChunkJob:
        """Write a chunk file with the named files and return its job."""
        job = self.planned(chunk, **changes)
        write_manifest(job.table, [self.row(name) for name in names])
        return job

    def plan_job(self, *names: str, **changes: Any) -> ChunkJob:
        """Return the same under the name that a plan gives it: another list is another chunk."""
        (chunk,) = plan_chunks([self.row(name) for name in names], len(names))
        return self.job(*names, chunk=chunk.name, **changes)


def write_track(path: Path, seed: int, length: int = LENGTH) -> None:
    """Write a WAV file of `length` samples at the model's rate, with its own sound."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, music(length / RATE, RATE, 1, seed=seed), RATE)
