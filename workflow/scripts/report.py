"""Draws the report: the audit for people, in one page."""

from pathlib import Path

from _job import model_profile, run_job
from mert_backfill.health.audit import read_failures
from mert_backfill.health.history import read_history
from mert_backfill.health.report import write_report
from mert_backfill.records.summary import read_summary
from mert_backfill.records.tracks import summarise_chunk
from mert_backfill.settings import Settings
from mert_backfill.store.profile import profile_record
from mert_backfill.system.tables import read_json


def report(settings: Settings) -> None:
    """Write the page."""
    files, output = snakemake.input, snakemake.output  # noqa: F821
    checkpoints = (str(table).replace(".tracks.tsv", ".checkpoint.json") for table in files.tracks)
    write_report(
        output[0],
        read_json(files.audit),
        read_summary(files.summary),
        read_history(Path(files.audit).with_name("history.jsonl")),
        read_failures(files.failures),
        [summarise_chunk(*chunk) for chunk in zip(files.tracks, checkpoints, strict=True)],
        profile_record(model_profile(settings)),
    )


run_job(snakemake, report)  # noqa: F821
