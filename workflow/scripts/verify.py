"""Reads every vector of the store and says what it found."""

import logging

from _job import run_job
from mert_backfill.errors import UserError
from mert_backfill.health.verify import DAMAGED_ENDING, verify_store
from mert_backfill.settings import Settings


def verify(settings: Settings) -> None:
    """Verify; fail when a vector is damaged."""
    result = verify_store(settings.results.embeddings)
    logging.info("vectors read: %d, valid: %d", result.valid + len(result.damaged), result.valid)
    for path in result.damaged:
        logging.warning("damaged: %s", path)
    if result.damaged:
        raise UserError(
            f"{len(result.damaged)} vectors were damaged and renamed to end in {DAMAGED_ENDING}; "
            "run `snakemake --cores 2` to make them again"
        )


run_job(snakemake, verify)  # noqa: F821
