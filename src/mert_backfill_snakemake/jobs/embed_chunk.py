"""Embeds the tracks of one chunk."""

from __future__ import annotations

import sys
from pathlib import Path

from mert_backfill.chunk.job import ChunkJob
from mert_backfill.chunk.supervisor import ChunkStopped, run_chunk
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
        try:
            run_chunk(_chunk(settings, snakemake), Path(snakemake.log[0]))
        except ChunkStopped:
            sys.exit(1)

    run_job(snakemake, work)


def _chunk(settings: Settings, snakemake: Job) -> ChunkJob:
    model = model_info(settings)
    return ChunkJob(
        name=snakemake.wildcards.chunk,
        results=settings.results,
        roots=settings.library.roots,
        model=model,
        profile=make_profile(RECIPES[settings.embedding.profile], model),
        runtime=settings.runtime,
        checkpoint_every=settings.checkpointing.every,
        sidecars=settings.embedding.sidecars,
        released=ScanState.read(settings.results).released,
        threads=snakemake.threads,
    )
