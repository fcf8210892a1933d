"""Embeds the tracks of one chunk."""

import sys
from pathlib import Path

from _job import model_info, run_job
from mert_backfill.chunk.job import ChunkJob
from mert_backfill.chunk.supervisor import ChunkStopped, run_chunk
from mert_backfill.recipes import CANONICAL
from mert_backfill.records.scan_state import ScanState
from mert_backfill.settings import Settings
from mert_backfill.store.profile import make_profile


def embed(settings: Settings) -> None:
    """Run the chunk under a process that outlives a crash of the model's."""
    model = model_info(settings)
    job = ChunkJob(
        name=snakemake.wildcards.chunk,  # noqa: F821
        results=settings.results,
        roots=settings.library.roots,
        model=model,
        profile=make_profile(CANONICAL, model),
        runtime=settings.runtime,
        checkpoint_every=settings.checkpointing.every,
        sidecars=settings.embedding.sidecars,
        released=ScanState.read(settings.results).released,
        threads=snakemake.threads,  # noqa: F821
    )
    try:
        run_chunk(job, Path(snakemake.log[0]))  # noqa: F821
    except ChunkStopped:
        sys.exit(1)


run_job(snakemake, embed)  # noqa: F821
