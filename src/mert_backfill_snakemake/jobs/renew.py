"""Audit and report after meta.json was changed in its place."""

from __future__ import annotations

import os
from contextlib import suppress

from mert_backfill.health.jobs import audit_library, report_library
from mert_backfill.records.chunk_list import read_chunk_names
from mert_backfill.results import Results
from mert_backfill.settings import Settings
from mert_backfill.store.profile import Profile


def renew_pages(settings: Settings, profile: Profile) -> None:
    """Make audit and report again, if a run has made them before.

    Snakemake sees by their times that they are up to date.
    """
    results = settings.results
    if not (results.audit.is_file() and results.summary.is_file()):
        return
    audit_library(settings, profile)
    _is_up_to_date(results, "audit")
    if results.report.is_file() and results.plan.is_file():
        finished = set(results.finished_chunks())
        planned = read_chunk_names(results.plan)
        report_library(settings, profile, [name for name in planned if name in finished])
        _is_up_to_date(results, "report")


def _is_up_to_date(results: Results, rule: str) -> None:
    # its benchmark counts as an output of a rule, and the oldest output as its age
    with suppress(OSError):
        os.utime(results.benchmark(rule))
