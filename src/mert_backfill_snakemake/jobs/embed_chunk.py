"""Embeds the tracks of one chunk."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from mert_backfill.chunk.job import ChunkJob
from mert_backfill.chunk.supervisor import ChunkStopped, run_chunk
from mert_backfill.errors import UserError
from mert_backfill.health.progress import note_chunk
from mert_backfill.recipes import RECIPES
from mert_backfill.records.scan_state import ScanState
from mert_backfill.settings import Settings
from mert_backfill.store.profile import make_profile
from mert_backfill_snakemake.job import run_job
from mert_backfill_snakemake.objects import Job
from mert_backfill_snakemake.settings import model_info


def run(snakemake: Job) -> None:
    """Do the job."""

    def work(settings: Settings) -> None:
        began, chunk = datetime.now(UTC), _chunk(settings, snakemake)
        try:
            run_chunk(chunk, Path(snakemake.log[0]))
        except ChunkStopped:
            note_chunk(chunk.results, chunk.name, began)
            sys.exit(1)
        except UserError:  # what failed may pass: it is listed all the same
            note_chunk(chunk.results, chunk.name, began)
            raise
        note_chunk(chunk.results, chunk.name, began)

    run_job(snakemake, work)


def _chunk(settings: Settings, snakemake: Job) -> ChunkJob:
    model = model_info(settings)
    state = ScanState.read(settings.results)
    return ChunkJob(
        name=snakemake.wildcards.chunk,
        results=settings.results,
        roots=settings.library.roots,
        model=model,
        profile=make_profile(RECIPES[settings.embedding.profile], model),
        runtime=settings.runtime,
        checkpoint_every=settings.checkpointing.every,
        sidecars=settings.embedding.sidecars,
        released=state.released,
        threads=snakemake.threads,
        theirs=state.theirs,
    )
