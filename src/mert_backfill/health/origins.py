"""Which recipe made the vectors that the rows name, and how that is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from mert_backfill.health.rows import StateOf
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.recipes import RECIPES
from mert_backfill.records.calibration import UNKNOWN, Calibration
from mert_backfill.store.vectors import VectorState

OURS = "ours"
CALIBRATED = "calibrated baseline"


@dataclass(frozen=True)
class Origin:
    """How many rows have a usable vector of a recipe, and how that is known.

    `origin` is `OURS` where it was made here, as the row says; `CALIBRATED` where the track was
    embedded again, or all that were are of one recipe; else ``unknown``.
    """

    recipe: str
    origin: str
    rows: int


def count_origins(
    meta: MetaFile, state_of: StateOf, calibration: Calibration | None
) -> tuple[Origin, ...]:
    """Count the rows with a usable vector by its recipe and origin, the most frequent first.

    Parameters
    ----------
    meta : MetaFile
        The rows.
    state_of : callable
        Tells what an embedding file holds.
    calibration : Calibration or None
        What is known of the baseline's vectors.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for key, row in meta.tracks.items():
        path = meta.embedding_path(key)
        if path is None or state_of(path) is not VectorState.VALID:
            continue
        made_by = str(row.get("embedding_profile")).rpartition("-")[0]
        if made_by in RECIPES:
            counts[made_by, OURS] += 1
        else:
            recipe = UNKNOWN if calibration is None else calibration.recipe_of(key)
            counts[recipe, UNKNOWN if recipe == UNKNOWN else CALIBRATED] += 1
    return tuple(Origin(*which, rows) for which, rows in counts.most_common())
