"""How a run ended, in one line that is always the last one."""

from __future__ import annotations

import os
from pathlib import Path

from mert_backfill.health.status import read_status
from mert_backfill.health.status_words import run_result, stopped, unfinished
from mert_backfill.records.standing import Standing
from mert_backfill.settings import Settings


def after_a_run(settings: Settings) -> str:
    """Return the last line of a run that did all there was to do."""
    results = settings.results
    standing = Standing.read(results)
    page = shown(results.audit_page)
    if standing is None:
        return f"All is done; see {page}"
    limit = settings.chunking.limit
    return run_result(standing, page, limit=limit)


def after_failed_chunks(settings: Settings) -> str:
    """Return the last line of a run in which chunks stayed open."""
    return unfinished(read_status(settings.results))


def after_ctrl_c(settings: Settings | None) -> str:
    """Return the last line of a run that the user stopped."""
    return stopped(None if settings is None else read_status(settings.results))


def shown(path: Path) -> str:
    """Return a path as it is shortest to type where the command was typed."""
    try:
        return str(path.resolve().relative_to(Path(os.environ["PWD"]).resolve()))
    except (KeyError, ValueError, OSError):
        return str(path)
