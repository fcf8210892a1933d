"""Which list of failed files counts: the one that is configured, or none."""

from __future__ import annotations

import os
from pathlib import Path

from mert_backfill.library.paths import PathMap
from mert_backfill.library.quarantine_list import QuarantineList, read_quarantine_list
from mert_backfill.results import Results


def read_quarantine(
    path: Path | None, results: Results, path_map: PathMap
) -> QuarantineList | None:
    """Read ``meta.quarantine_file``.

    Parameters
    ----------
    path : Path or None
        The configured list.
    results : Results
        The results folder; its own list, which the first audit writes, may be missing.
    path_map : PathMap
        Decides which spellings mean the same file.

    Raises
    ------
    UserError
        It is missing or cannot be read.
    """
    if path is None or (is_own_list(path, results) and not path.exists()):
        return None
    return read_quarantine_list(path, path_map)


def is_own_list(path: Path, results: Results) -> bool:
    """Tell whether a list is the one that the audit writes."""
    return os.path.realpath(path) == os.path.realpath(results.quarantine)
