"""What calibration found: which recipe made the vectors that the baseline names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from mert_backfill.recipes import RECIPES
from mert_backfill.results import Results
from mert_backfill.system.tables import read_json, write_json

Verdict = Literal["match", "other", "mixture", "unknown", "none"]
UNKNOWN = "unknown"  # what stands for the recipe of a row that no recipe matches


@dataclass(frozen=True)
class CalibratedRow:
    """A row of the baseline whose track was embedded again.

    Attributes
    ----------
    meta_key, path : str
        Its key, and the track's file.
    recipe : str
        The recipe that made its vector, or `UNKNOWN`.
    distances : mapping
        Recipe that was tried to the distance of its vector from the row's.
    vector_mtime : str
        When the row's vector was written (UTC, ISO 8601).
    """

    meta_key: str
    path: str
    recipe: str
    distances: Mapping[str, float]
    vector_mtime: str

    @property
    def distance(self) -> float:
        """The distance under its own recipe; where that is unknown, the smallest."""
        return self.distances.get(self.recipe, min(self.distances.values()))


@dataclass(frozen=True)
class RecipeRows:
    """The rows of one recipe in numbers: how many, from when to when (days), and how far off."""

    recipe: str
    rows: int
    first: str
    last: str
    largest_distance: float


@dataclass(frozen=True)
class Calibration:
    """The content of ``audit/calibration.json``.

    Attributes
    ----------
    profile, model : str
        The profile that new vectors are made under, and the model's name.
    verdict : str
        What the rows say together; see docs/calibration.md.
    rows : tuple of CalibratedRow
        The rows, that with the oldest vector first.
    """

    profile: str
    model: str
    verdict: Verdict
    rows: tuple[CalibratedRow, ...]

    @property
    def recipe(self) -> str:
        """The recipe that new vectors are made by."""
        return self.profile.rpartition("-")[0]

    @property
    def stops(self) -> bool:
        """Whether new vectors would not compare with all that there are."""
        return self.verdict in ("other", "mixture", "unknown")

    @property
    def newest_recipe(self) -> str:
        """The recipe of the newest vector among the rows."""
        return max(self.rows, key=lambda row: row.vector_mtime).recipe

    def recipe_of(self, meta_key: str) -> str:
        """Return the recipe of a row that was not made here, `UNKNOWN` where nothing proves one.

        Where all rows that were embedded again are of one recipe, so are the others.
        """
        again = {row.meta_key: row.recipe for row in self.rows}
        is_one = self.verdict in ("match", "other")
        return again.get(meta_key, self.rows[0].recipe if is_one and self.rows else UNKNOWN)

    def by_recipe(self) -> list[RecipeRows]:
        """Return the rows of each recipe in numbers, that of the oldest vector first."""
        found: dict[str, list[CalibratedRow]] = {}
        for row in sorted(self.rows, key=lambda row: row.vector_mtime):
            found.setdefault(row.recipe, []).append(row)
        return [
            RecipeRows(
                recipe,
                len(rows),
                _day(rows[0]),
                _day(rows[-1]),
                max(row.distance for row in rows),
            )
            for recipe, rows in found.items()
        ]

    @property
    def told(self) -> str:
        """What was found, in one line."""
        count = len(self.rows)
        match self.verdict:
            case "match" | "other":
                (made,) = self.by_recipe()
                instead = "" if self.verdict == "match" else f", not {self.recipe}"
                return (
                    f"{count} of {count} baseline vectors match {made.recipe}{instead} "
                    f"(largest distance {made.largest_distance:.2f})"
                )
            case "none":
                return (
                    "no baseline vector could be compared with new ones: none is usable and of a "
                    "file of 80 s or more"
                )
            case _:
                parts = ", ".join(f"{made.rows} {made.recipe}" for made in self.by_recipe())
                if self.verdict == "mixture":
                    return f"{count} baseline vectors were made by several recipes: {parts}"
                unknown = sum(row.recipe == UNKNOWN for row in self.rows)
                return f"{unknown} of {count} baseline vectors match no recipe: {parts}"

    def table(self) -> list[str]:
        """Return the rows of each recipe as the lines of a table."""
        lines = [("recipe", "rows", "vectors from", "to", "largest distance")]
        lines += [
            (made.recipe, str(made.rows), made.first, made.last, f"{made.largest_distance:.2f}")
            for made in self.by_recipe()
        ]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]

    @classmethod
    def read(cls, results: Results) -> Calibration | None:
        """Read what was found; None where there is nothing, or nothing that can be read."""
        try:
            record = read_json(results.calibration)
            rows = tuple(_read_row(row) for row in record["rows"])
            if record["verdict"] not in get_args(Verdict):
                return None
            return cls(str(record["profile"]), str(record["model"]), record["verdict"], rows)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None

    def write(self, results: Results) -> None:
        """Write ``audit/calibration.json``."""
        write_json(results.calibration, asdict(self))


def _read_row(record: Mapping[str, Any]) -> CalibratedRow:
    distances = {name: float(record["distances"][name]) for name in record["distances"]}
    known = {*RECIPES, UNKNOWN}
    if not distances or not known.issuperset({record["recipe"], *distances}):
        raise ValueError("no row of a calibration")
    when = datetime.fromisoformat(record["vector_mtime"]).isoformat()
    return CalibratedRow(
        str(record["meta_key"]), str(record["path"]), record["recipe"], distances, when
    )


def _day(row: CalibratedRow) -> str:
    return row.vector_mtime[:10]


@dataclass(frozen=True)
class CalibrationMark:
    """What a calibration was about: as long as that is so, its verdict is remembered.

    Other rows may come and change, and meta.json may be published: what was proved of a vector
    stays proved.

    Attributes
    ----------
    baseline, profile : str
        The path of the baseline, and the profile that its vectors were compared with.
    tracks : int
        How many rows were asked for.
    library : str
        `ScanState.key` then; counts where no row could be used, which more music may change.
    vectors : list of (str, int, int)
        Path, size and mtime (ns) of the vector of each row.
    """

    baseline: str
    profile: str
    tracks: int
    library: str
    vectors: list[tuple[str, int, int]]

    @classmethod
    def read(cls, results: Results) -> CalibrationMark | None:
        """Read the mark; None where there is none, or none that can be read."""
        try:
            record = read_json(results.calibrated)
            vectors = [(str(path), int(size), int(time)) for path, size, time in record["vectors"]]
            return cls(**{**record, "vectors": vectors})
        except (OSError, ValueError, TypeError, LookupError):
            return None

    def write(self, results: Results) -> None:
        """Write the mark; the calibration is done then."""
        write_json(results.calibrated, asdict(self))


def mark_vectors(paths: Iterable[str]) -> list[tuple[str, int, int]]:
    """Return path, size and mtime of vectors; those of one that is gone are 0."""
    marks = []
    for path in paths:
        try:
            stat = os.stat(path)
            marks.append((path, stat.st_size, stat.st_mtime_ns))
        except OSError:
            marks.append((path, 0, 0))
    return marks


def last_calibration(results: Results, baseline: str, profile: str) -> Calibration | None:
    """Return what was found last of a baseline under a profile; None of another one."""
    told = _read_both(results, baseline, profile)
    return told[0] if told is not None else None


def _read_both(
    results: Results, baseline: str, profile: str
) -> tuple[Calibration, CalibrationMark] | None:
    found, mark = Calibration.read(results), CalibrationMark.read(results)
    if found is None or mark is None or found.profile != profile:
        return None
    return (found, mark) if (mark.baseline, mark.profile) == (baseline, profile) else None


def recall_calibration(
    results: Results, baseline: str, profile: str, tracks: int, library: str
) -> tuple[Calibration, tuple[str, ...]] | None:
    """Return what is remembered of a calibration, and the paths of the vectors of its rows.

    Parameters
    ----------
    results : Results
        The results folder.
    baseline, profile, tracks, library
        As in `CalibrationMark`.

    Returns
    -------
    tuple or None
        None where there was none, or it was about something else.
    """
    told = _read_both(results, baseline, profile)
    if told is None or told[1].tracks != tracks:
        return None
    found, mark = told
    if found.verdict == "none":
        return (found, ()) if mark.library == library else None
    paths = tuple(path for path, _, _ in mark.vectors)
    is_same = len(paths) == len(found.rows) and mark_vectors(paths) == mark.vectors
    return (found, paths) if is_same else None
