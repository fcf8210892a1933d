"""The jobs of a run, done in this process and without Snakemake; and what they leave."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mert_backfill.audio.prepared import TrackDecoder
from mert_backfill.chunk.finish import finish_chunk
from mert_backfill.chunk.job import ChunkJob
from mert_backfill.chunk.run import ChunkRun
from mert_backfill.chunk.worker import lacks_harmony
from mert_backfill.library.paths import track_id
from mert_backfill.model.embedding import WindowEncoder
from mert_backfill.plan.chunks import chunk_names, discard_plan, write_plan
from mert_backfill.plan.preview import Preview, take_preview
from mert_backfill.plan.scan import write_scan
from mert_backfill.records.scan_state import ScanState
from mert_backfill.system.tables import read_jsonl, read_tsv
from support import ROOT_NAME
from support.fakes import FakeDecoder, FakeEncoder, PlainDecoder
from support.libraries import Library

FOLDER = Path(__file__).resolve().parent


class Workflow:
    """What Snakemake does with a library, step by step, without Snakemake."""

    def __init__(self, library: Library, **settings: Any) -> None:
        self.library = library
        self.settings = library.settings(**settings)
        self.encoder: WindowEncoder | None = None
        self.sung: list[str] = []

    @property
    def plan_file(self) -> Path:
        return self.library.results.plan

    def preview(self) -> Preview:
        return take_preview(self.settings, self.library.profile)

    def scan(self) -> None:
        preview = self.preview()
        write_scan(self.settings, self.library.profile, preview.key, preview.fingerprint)

    def plan(self) -> list[str]:
        return write_plan(self.settings, self.library.profile, self.plan_file)

    def open_chunks(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if not self.library.results.tracks_table(name).exists()]

    def embed(self, chunk: str, errors: Mapping[str, Any] | None = None) -> list[str]:
        """Do one chunk; return the names of the files that were decoded."""
        job = self.library.planned(
            chunk,
            roots=self.settings.library.roots,
            sidecars=self.settings.embedding.sidecars,
            released=ScanState.read(self.library.results).released,
            theirs=ScanState.read(self.library.results).theirs,
        )
        decoder = FakeDecoder(errors, wants_harmony=partial(lacks_harmony, job))
        run_once(job, decoder, self.encoder)
        self.sung += decoder.sung
        return decoder.names

    def start(self) -> list[str]:
        """Scan and plan where that is due; return the chunks that are left to do."""
        preview = self.preview()
        if not preview.plan_holds:
            discard_plan(self.library.results, preview.fingerprint)
            write_scan(self.settings, self.library.profile, preview.key, preview.fingerprint)
            self.plan()
        return self.open_chunks(chunk_names(self.library.results.chunk_files))

    def run(self, errors: Mapping[str, Any] | None = None) -> list[str]:
        """Do all there is to do; return the names of the files that were decoded."""
        return [name for chunk in self.start() for name in self.embed(chunk, errors)]


def make_job(folder: Path, lengths: Mapping[str, int] | Sequence[str], **changes: Any) -> ChunkJob:
    """Write tracks below `folder` and plan them as one chunk.

    `lengths` are the names of the tracks, and how many samples each has.
    """
    library = Library(folder)
    library.add_sounds(lengths)
    return library.plan_job(*lengths, **changes)


def plan_job(folder: Path, names: Sequence[str], **changes: Any) -> ChunkJob:
    """Plan files below `folder` as one chunk; `changes` replace fields of the job."""
    return Library(folder).plan_job(*names, **changes)


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
    rows = read_tsv(job.results.tracks_table(job.name))
    return {Path(row["path"]).name: row["status"] for row in rows}


def failures(job: ChunkJob) -> dict[str, dict[str, Any]]:
    """Return the records of the chunk's failures, by the name of the track."""
    records = read_jsonl(job.results.chunk_failures(job.name))
    return {Path(record["path"]).name: record for record in records}


def events(job: ChunkJob) -> list[tuple[str, tuple[str, ...]]]:
    """Return what the journal says, in short: event, and the names of the files."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for record in read_jsonl(job.journal):
        match record["event"]:
            case "embedded" | "reused":
                names = [Path(record["row"]["path"]).name]
            case "failed":
                names = [Path(record["failure"]["path"]).name]
            case _:
                names = record["tracks"]
        found.append((record["event"], tuple(names)))
    return found


def has_vector(job: ChunkJob, name: str) -> bool:
    return job.store.is_complete(track_id(ROOT_NAME, name))


def injected_environment(**orders: str) -> dict[str, str]:
    """Return the variables that make the processes of a run misbehave; see ``injected/``."""
    folders = [FOLDER / "injected", FOLDER.parent]
    return {"PYTHONPATH": os.pathsep.join(map(str, folders)), **orders}
