"""A small library, a profile and a chunk job, with stand-ins for decoder and model."""

from __future__ import annotations

import contextlib
import hashlib
import logging.handlers
import os
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mert_backfill.audio.prepared import DecodeResult, PreparedTrack
from mert_backfill.chunk.finish import finish_chunk
from mert_backfill.chunk.job import ChunkJob
from mert_backfill.chunk.run import ChunkRun
from mert_backfill.errors import UserError
from mert_backfill.failures import Failure, TrackError
from mert_backfill.keys import Section
from mert_backfill.library.paths import track_id
from mert_backfill.library.roots import Root
from mert_backfill.model.embedding import WindowEmbedding
from mert_backfill.model.info import ModelInfo
from mert_backfill.model.source import ModelSource
from mert_backfill.plan.chunks import chunk_names, discard_plan, write_plan
from mert_backfill.plan.preview import Preview, take_preview
from mert_backfill.plan.scan import write_scan
from mert_backfill.recipes import CANONICAL
from mert_backfill.records.manifest import MISSING_META, PendingTrack, write_manifest
from mert_backfill.records.scan_state import ScanState
from mert_backfill.results import Results
from mert_backfill.settings import Runtime, Settings
from mert_backfill.store.profile import Profile, make_profile
from mert_backfill.system.tables import read_jsonl

D = 4
LAYERS = 2
CHUNK = "part001-0123abcd"
RUNTIME = Runtime(track_timeout_s=10.0)


def a_model(seed: int = 0) -> ModelInfo:
    """Return what is known of a model that does not exist."""
    return ModelInfo(
        name="tiny",
        revision=None,
        folder=Path("tiny"),
        architecture={"hidden_size": D},
        weight_files=(),
        weights_sha256=f"{seed:064x}",
        hidden_size=D,
        layers=LAYERS,
        masked_spec_embed=False,
        is_demo=True,
    )


def a_profile(seed: int = 0) -> Profile:
    """Return the canonical profile of that model."""
    return make_profile(CANONICAL, a_model(seed))


def a_failure(track: str, **changes: Any) -> Failure:
    """Return a permanent failure of a track."""
    failure = Failure(
        path=f"/music/{track}.mp3",
        track_id=track,
        chunk=CHUNK,
        stage="decode",
        reason="not_audio",
        error="LibsndfileError: bad",
        permanent=True,
        attempts=1,
        size_bytes=5,
        mtime_ns=7,
        timestamp="2026-01-01T00:00:00+00:00",
    )
    return replace(failure, **changes)


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
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def root(self) -> Root:
        return Root("main", self.music)

    def add(self, *names: str, content: str | None = None) -> None:
        """Write files whose audio is their content; by default each its own."""
        self.music.mkdir(parents=True, exist_ok=True)
        for name in names:
            (self.music / name).write_text(content or f"audio of {name}")

    def id(self, name: str) -> str:
        return track_id("main", name)

    def row(self, name: str) -> PendingTrack:
        stat = os.stat(self.music / name)
        path = str(self.music / name)
        return PendingTrack(self.id(name), path, MISSING_META, "", stat.st_size, stat.st_mtime_ns)

    def settings(self, **changes: Any) -> Settings:
        written = {
            "library": {
                "roots": [{"name": "main", "path": str(self.music)}],
                "extensions": [".mp3"],
            },
            "chunking": {"size": 2},
            "runtime": {"track_timeout_s": 10},
        }
        settings = Settings.model_validate(written, context=self.folder)
        model = ModelSource("tiny", Path("tiny"), None)
        return changed(settings, **{"model": model, **changes})

    def job(self, *names: str, **changes: Any) -> ChunkJob:
        """Write a chunk file with the named files and return its job."""
        job = ChunkJob(
            name=CHUNK,
            results=Results(self.results),
            roots=(self.root,),
            model=a_model(),
            profile=self.profile,
            runtime=RUNTIME,
            checkpoint_every=50,
            sidecars=(),
            released={},
            threads=1,
        )
        job = replace(job, **changes)
        write_manifest(job.table, [self.row(name) for name in names])
        return job


def events(job: ChunkJob) -> list[tuple[str, tuple[str, ...]]]:
    """Return what the journal says, in short: event, and the names of the files."""
    found = []
    for record in read_jsonl(job.journal):
        match record["event"]:
            case "embedded" | "reused":
                names = (Path(record["row"]["path"]).name,)
            case "failed":
                names = (Path(record["failure"]["path"]).name,)
            case _:
                names = tuple(record["tracks"])
        found.append((record["event"], names))
    return found


def prepared(content: bytes, windows: Sequence[str] = ("core",)) -> PreparedTrack:
    """Return what decoding makes of a content: windows of D numbers that stand for it."""
    digest = hashlib.sha256(content)
    numbers = np.frombuffer(digest.digest()[:D], np.uint8).astype(np.float32) + 1
    parts = tuple(numbers + row for row in range(len(windows)))
    return PreparedTrack(tuple(windows), parts, 3.0, 44_100, digest.hexdigest())


class FakeDecoder:
    """Decodes the files of a library; what it is told to raise for a name, it answers.

    `asked` holds the names of each call, in order.
    """

    def __init__(
        self,
        errors: Mapping[str, TrackError | list[TrackError]] | None = None,
        windows: Sequence[str] = ("core",),
    ) -> None:
        self._errors = {
            name: [*error] if isinstance(error, list) else [error] * 9
            for name, error in (errors or {}).items()
        }
        self._windows = windows
        self.asked: list[list[str]] = []

    @property
    def names(self) -> list[str]:
        """All that it was asked for."""
        return [name for asked in self.asked for name in asked]

    def decode(self, tracks: Iterator[tuple[str, str]]) -> Iterator[DecodeResult]:
        asked: list[str] = []
        self.asked.append(asked)
        for track, path in tracks:
            name = os.path.basename(path)
            asked.append(name)
            if self._errors.get(name):
                yield DecodeResult(track, 0.1, None, self._errors[name].pop(0))
            else:
                content = Path(path).read_bytes()
                yield DecodeResult(track, 0.1, prepared(content, self._windows), None)


class FakeEncoder:
    """Returns the windows themselves as vectors, unless told otherwise for a window."""

    device = "cpu"
    precision = "float32"

    def __init__(
        self,
        tracks_per_batch: int = 2,
        answer: Callable[[np.ndarray], np.ndarray | TrackError] = lambda window: window,
    ) -> None:
        self.tracks_per_batch = tracks_per_batch
        self._answer = answer
        self.batches: list[int] = []

    def encode(
        self, windows: Sequence[np.ndarray], *, all_layers: bool = False
    ) -> list[WindowEmbedding | TrackError]:
        self.batches.append(len(windows))
        found: list[WindowEmbedding | TrackError] = []
        for window in windows:
            outcome = self._answer(window)
            if isinstance(outcome, TrackError):
                found.append(outcome)
            else:
                layers = np.stack([outcome] * (LAYERS + 1)) if all_layers else None
                found.append(WindowEmbedding(outcome, layers))
        return found


class Workflow:
    """What Snakemake does with a library, step by step, without Snakemake."""

    def __init__(self, library: Library, **settings: Any) -> None:
        self.library = library
        self.settings = library.settings(**settings)

    @property
    def plan_file(self) -> Path:
        return self.library.results / "gaps" / "plan.json"

    def preview(self) -> Preview:
        return take_preview(self.settings, self.library.profile)

    def scan(self) -> None:
        preview = self.preview()
        write_scan(self.settings, self.library.profile, preview.key, preview.fingerprint)

    def plan(self) -> list[str]:
        return write_plan(self.settings, self.library.profile, self.plan_file)

    def open_chunks(self, names: Sequence[str]) -> list[str]:
        chunks = self.library.results / "chunks"
        return [name for name in names if not Results(chunks.parent).tracks_table(name).exists()]

    def embed(self, chunk: str, errors: Mapping[str, Any] | None = None) -> list[str]:
        """Do one chunk; return the names of the files that were decoded."""
        job = ChunkJob(
            name=chunk,
            results=Results(self.library.results),
            roots=self.settings.library.roots,
            model=a_model(),
            profile=self.library.profile,
            runtime=RUNTIME,
            checkpoint_every=50,
            sidecars=self.settings.embedding.sidecars,
            released=ScanState.read(Results(self.library.results)).released,
            threads=1,
        )
        decoder = FakeDecoder(errors)
        ChunkRun(job, FakeEncoder, decoder).run()
        finish_chunk(job)
        return decoder.names

    def start(self) -> list[str]:
        """Scan and plan where that is due; return the chunks that are left to do."""
        preview = self.preview()
        if not preview.plan_holds:
            discard_plan(Results(self.library.results))
            write_scan(self.settings, self.library.profile, preview.key, preview.fingerprint)
            self.plan()
        return self.open_chunks(chunk_names(self.library.results / "gaps" / "chunks"))

    def run(self, errors: Mapping[str, Any] | None = None) -> list[str]:
        """Do all there is to do; return the names of the files that were decoded."""
        return [name for chunk in self.start() for name in self.embed(chunk, errors)]


def vector_of(library: Library, name: str) -> np.ndarray:
    """Return the vector that the stand-ins make of a file."""
    return prepared((library.music / name).read_bytes()).windows[0].astype(np.float16)


def no_encoder() -> FakeEncoder:
    """Stand where a model must not be loaded."""
    raise AssertionError("the model was loaded")


@contextlib.contextmanager
def heard(logger: logging.Logger) -> Iterator[queue.SimpleQueue[logging.LogRecord]]:
    """Collect what a logger says, for another thread to wait for."""
    said: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(said)
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)


def refusal(action: Callable[[], object]) -> str:
    """Return the one line with which an action is refused."""
    with pytest.raises(UserError) as refused:
        action()
    line = str(refused.value)
    assert "\n" not in line
    return line
