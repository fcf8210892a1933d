"""What looks like a mistake of configuration, and is better told before a week of work."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from mert_backfill.plan.gaps import GapReport
from mert_backfill.plan.inputs import ScanInputs
from mert_backfill.store.vectors import read_array

# whose vector is looked at: all were made by one program, and a disk may be slow
_ROWS = 50


def unlisted_note(inputs: ScanInputs) -> str:
    """Say how many lines of paths_file name nothing in the library; empty when all do."""
    only, listing = inputs.only, inputs.listing
    if only is None:
        return ""
    absent = only.unmatched(file.path for file in (*listing.files, *listing.junk))
    if not absent:
        return ""
    return (
        f"{only.path}: {len(absent)} of {len(only)} listed paths are not in the library, "
        f"such as {absent[0]!r}"
    )


def linked_folders_note(inputs: ScanInputs) -> str:
    """Say how many links to folders were not followed; empty when there are none."""
    links = inputs.listing.linked_folders
    if not links:
        return ""
    return (
        f"folders that are links, which are not followed: {len(links)}, such as "
        f"{_quoted(links[0])}; if their music belongs to the library, add the folders that they "
        "lead to to library.roots"
    )


def baseline_notes(inputs: ScanInputs, report: GapReport) -> Iterator[str]:
    """Yield what is odd about the baseline as a whole.

    Parameters
    ----------
    inputs : ScanInputs
        What was read.
    report : GapReport
        How the library divides.
    """
    baseline, profile = inputs.baseline, inputs.profile
    rows = len(baseline.tracks)
    if rows and inputs.listing.files and report.counts["stale_meta_paths_total"] == rows:
        yield (
            f"0 of {rows} rows of meta.json belong to a file: they are written like "
            f"{_quoted(next(iter(baseline.tracks)))}, your music is written like "
            f"{_quoted(inputs.listing.files[0].path)}; is meta.path_map missing? "
            "See config/README.md"
        )
    sizes = set(_vector_sizes(inputs))
    if len(sizes) == 1 and sizes != {profile.dimension}:
        yield (
            f"meta.json holds vectors of {sizes.pop()} numbers, {profile.model_name} makes "
            f"{profile.dimension}: is it another model? Vectors of two models do not compare"
        )


def _vector_sizes(inputs: ScanInputs) -> Iterator[int]:
    baseline = inputs.baseline
    referring = (key for key in baseline.tracks if baseline.embedding_ref(key) is not None)
    for path in baseline.embeddings_of(islice(referring, _ROWS)):
        vector = read_array(path)
        if isinstance(vector, np.ndarray) and vector.ndim == 1:
            yield len(vector)


def _quoted(path: str) -> str:
    """Return a path in quotes, with single backslashes, and safe for a terminal."""
    return repr(path).replace("\\\\", "\\")
