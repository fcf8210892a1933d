"""Audits the rebuilt meta.json against the baseline."""

from pathlib import Path

from _job import model_profile, run_job
from mert_backfill.health.audit import make_audit, write_audit, write_failures, write_retry_paths
from mert_backfill.health.audit_page import write_audit_page
from mert_backfill.health.history import append_entry, write_progress
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.plan.inputs import embedding_base, list_scanned_library, read_baseline
from mert_backfill.records.ledger import read_ledger
from mert_backfill.records.summary import read_summary
from mert_backfill.settings import Settings
from mert_backfill.store.profile import profile_record


def audit(settings: Settings) -> None:
    """Write the audit's files; the history gets an entry if anything changed."""
    files, output = snakemake.input, snakemake.output  # noqa: F821
    profile = model_profile(settings)
    summary = read_summary(files.summary)
    result = make_audit(
        read_baseline(settings),
        MetaFile.load(
            Path(files.meta),
            embedding_base=embedding_base(settings),
            path_map=settings.meta.path_map,
        ),
        list_scanned_library(settings),
        read_ledger(settings.results, profile.name).failures,
        profile.dimension,
        summary.counts,
    )
    write_failures(output.failures, result.failures)
    write_retry_paths(output.retry, result.failures)
    write_audit_page(output.page, result, summary, profile_record(profile))
    write_progress(output.progress, append_entry(Path("results/audit/history.jsonl"), result))
    write_audit(output.audit, result)


run_job(snakemake, audit)  # noqa: F821
