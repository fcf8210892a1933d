"""Writes the rebuilt meta.json over the live one."""

import json
import logging
from pathlib import Path

from _job import run_job
from mert_backfill.errors import UserError
from mert_backfill.meta.publish import publish_meta
from mert_backfill.settings import Settings
from mert_backfill.system.tables import write_json


def publish(settings: Settings) -> None:
    """Publish, and record where the backup is."""
    files, output = snakemake.input, snakemake.output  # noqa: F821
    if settings.meta.baseline is None:
        raise UserError("meta.baseline: there is no live meta.json to publish to; name it")
    source = json.loads(Path(files.source).read_bytes())
    if source["baseline"] != str(settings.meta.baseline):
        raise UserError("meta.baseline: not the file of the last run; run `snakemake --cores 2`")
    backup = publish_meta(Path(files.meta), settings.meta.baseline, source["sha256"])
    logging.info("published to %s, the backup is %s", settings.meta.baseline, backup)
    write_json(
        output.record,
        {"live": str(settings.meta.baseline), "backup": None if backup is None else str(backup)},
    )


run_job(snakemake, publish)  # noqa: F821
