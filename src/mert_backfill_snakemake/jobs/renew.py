"""Audit and report after meta.json was changed in its place."""

from __future__ import annotations

from mert_backfill.health.jobs import audit_library, report_library
from mert_backfill.plan.chunks import read_chunk_names
from mert_backfill.settings import Settings
from mert_backfill.store.profile import Profile


def renew_pages(settings: Settings, profile: Profile) -> None:
    """Make audit and report again, if a run has made them before.

    Snakemake sees by their times that they are up to date.
    """
    results = settings.results
    if results.audit.is_file() and results.summary.is_file():
        audit_library(settings, profile)
        if results.report.is_file() and results.plan.is_file():
            finished = set(results.finished_chunks())
            planned = read_chunk_names(results.plan)
            report_library(settings, profile, [name for name in planned if name in finished])
