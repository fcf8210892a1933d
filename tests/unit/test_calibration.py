"""What is remembered of a calibration, and what follows: a line of the preview, or a stop."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mert_backfill.chunk.calibrate import judge, read_baseline_vectors
from mert_backfill.plan.calibration import check_calibration
from mert_backfill.plan.preview import take_preview
from mert_backfill.recipes import RECIPES
from mert_backfill.records.calibration import (
    CalibratedRow,
    Calibration,
    CalibrationMark,
    last_calibration,
    mark_vectors,
    recall_calibration,
)
from mert_backfill.settings import Settings
from mert_backfill.system.tables import read_json, write_json
from support.checks import refusal
from support.fakes import D, a_profile
from support.libraries import Library, changed

PROFILE = a_profile()


def a_row(number: int, recipe: str, distance: float = 0.004) -> CalibratedRow:
    distances = dict.fromkeys(RECIPES, 9.25) | ({recipe: distance} if recipe in RECIPES else {})
    when = f"2026-01-{number + 1:02}T00:00:00+00:00"
    return CalibratedRow(f"/m/{number}.mp3", f"/m/{number}.mp3", recipe, distances, when)


A_ROW = a_row(0, "canonical")


def a_calibration(*recipes: str) -> Calibration:
    rows = tuple(a_row(number, recipe) for number, recipe in enumerate(recipes))
    verdict = judge(recipes, PROFILE.recipe.name)
    return Calibration(PROFILE.name, PROFILE.model_name, verdict, rows)


@dataclass
class Calibrated:
    """A library with a baseline of four vectors, and what was found of them."""

    library: Library
    settings: Settings

    @property
    def vectors(self) -> list[Path]:
        return [self.library.folder / f"{number}.npy" for number in range(4)]

    def remember(self, found: Calibration) -> None:
        found.write(self.settings.results)
        CalibrationMark(
            baseline=str(self.settings.meta.baseline),
            profile=PROFILE.name,
            tracks=8,
            library="key",
            vectors=mark_vectors(str(self.vectors[number]) for number in range(len(found.rows))),
        ).write(self.settings.results)

    def recall(self, profile: str = PROFILE.name, tracks: int = 8, key: str = "key") -> Any:
        baseline = str(self.settings.meta.baseline)
        return recall_calibration(self.settings.results, baseline, profile, tracks, key)

    def note(self, **changes: Any) -> str:
        """Return what a preview says, but for its last line."""
        preview = take_preview(changed(self.settings, **changes), PROFILE)
        return str(preview).rpartition("\n")[0]

    def write_rows(self, *more: str) -> None:
        rows = {f"/m/{number}.mp3": {"embedding": f"{number}.npy"} for number in range(4)}
        rows |= {key: {} for key in more}
        write_json(self.library.folder / "data" / "meta.json", {"tracks": rows})


@pytest.fixture
def calibrated(tmp_path: Path) -> Calibrated:
    library = Library(tmp_path)
    library.add("new.mp3")
    for number in range(4):
        np.save(tmp_path / f"{number}.npy", np.full(D, number + 1, np.float32))
    world = Calibrated(library, library.settings(baseline=tmp_path / "data" / "meta.json"))
    world.write_rows()
    return world


def test_a_verdict_is_remembered_through_changes_that_do_not_matter(
    calibrated: Calibrated,
) -> None:
    found = a_calibration("canonical", "canonical")
    calibrated.remember(found)
    calibrated.write_rows("/m/another.mp3")  # as a publish adds rows
    assert calibrated.recall(key="of another library")[0] == found
    assert Calibration.read(calibrated.settings.results) == found
    record = read_json(calibrated.settings.results.calibration)
    assert list(record) == ["profile", "model", "verdict", "rows"]
    assert list(record["rows"][0]) == ["meta_key", "path", "recipe", "distances", "vector_mtime"]


def test_a_verdict_is_forgotten_with_what_it_was_about(calibrated: Calibrated) -> None:
    assert calibrated.recall() is None
    calibrated.remember(a_calibration("canonical", "canonical"))
    assert calibrated.recall(profile="padded-01234567") is None
    assert calibrated.recall(tracks=9) is None
    os.utime(calibrated.vectors[1], ns=(5, 5))
    assert calibrated.recall() is None
    calibrated.remember(a_calibration("canonical"))
    baseline, results = str(calibrated.settings.meta.baseline), calibrated.settings.results
    assert last_calibration(results, baseline, PROFILE.name) is not None
    assert last_calibration(results, "another", PROFILE.name) is None


@pytest.mark.parametrize(
    "edited",
    [
        {"verdict": "fine"},
        {"rows": [{}]},
        {"rows": None},
        {"rows": [{**asdict(A_ROW), "recipe": "| *mine*"}]},
        {"rows": [{**asdict(A_ROW), "distances": {}}]},
        {"rows": [{**asdict(A_ROW), "distances": {"canonical": "far"}}]},
        {"rows": [{**asdict(A_ROW), "vector_mtime": "\x1b[2J"}]},
        {"rows": [asdict(A_ROW)] * 2},
    ],
)
def test_a_verdict_that_was_edited_is_none(calibrated: Calibrated, edited: dict[str, Any]) -> None:
    calibrated.remember(a_calibration("canonical"))
    assert calibrated.recall() is not None
    path = calibrated.settings.results.calibration
    write_json(path, {**read_json(path), **edited})
    assert calibrated.recall() is None
    path.write_text("[]")
    assert calibrated.recall() is None


def test_that_nothing_could_be_used_is_remembered_until_the_library_changes(
    calibrated: Calibrated,
) -> None:
    calibrated.remember(a_calibration())
    assert calibrated.recall()[0].verdict == "none"
    assert calibrated.recall(key="another") is None


def test_a_preview_tells_that_a_calibration_comes_first(calibrated: Calibrated) -> None:
    assert "calibration" not in calibrated.note()  # no row is of a file that is here
    calibrated.library.add("a.mp3", "b.mp3", "new.mp3")
    music = calibrated.library.music
    rows = {str(music / name): {"embedding": "1.npy"} for name in ("a.mp3", "b.mp3")}
    write_json(calibrated.library.folder / "data" / "meta.json", {"tracks": rows})
    assert calibrated.note() == (
        "a calibration of up to 2 tracks comes first: meta.json names vectors of them, and whether "
        "canonical made those is found out by embedding them again"
    )
    assert "a calibration of up to 1 track comes first" in calibrated.note(tracks=1)
    assert "calibration" not in calibrated.note(tracks=0)
    assert "calibration" not in calibrated.note(reembed="all")
    assert "calibration" not in calibrated.note(baseline=None)
    calibrated.library.music.joinpath("new.mp3").unlink()  # so that nothing is pending
    assert "calibration" not in calibrated.note(accept_shrunken_library=True)


@pytest.mark.parametrize(
    ("recipes", "told"),
    [
        (
            ["canonical", "canonical"],
            "2 of 2 baseline vectors match canonical (largest distance 0.00)",
        ),
        (
            ["padded", "padded"],
            "2 of 2 baseline vectors match padded, not canonical (largest distance 0.00): a run "
            "stops before its first chunk",
        ),
        (
            ["whole", "canonical", "canonical"],
            "3 baseline vectors were made by several recipes: 1 whole, 2 canonical: a run stops "
            "before its first chunk",
        ),
        (
            ["canonical", "unknown"],
            "1 of 2 baseline vectors match no recipe: 1 canonical, 1 unknown: a run stops before "
            "its first chunk",
        ),
    ],
)
def test_a_preview_tells_what_is_remembered(
    calibrated: Calibrated, recipes: list[str], told: str
) -> None:
    calibrated.remember(a_calibration(*recipes))
    notes = calibrated.note().splitlines()
    assert told in notes
    stops = told.endswith("chunk")
    accepted = calibrated.note(accept=True).splitlines()
    plain = told.removesuffix(": a run stops before its first chunk")
    assert (f"{plain}; accepted" if stops else plain) in accepted
    # a library that was brought to one recipe since names other vectors
    rows = {f"/m/{number}.mp3": {"embedding": "3.npy"} for number in range(4)}
    write_json(calibrated.library.folder / "data" / "meta.json", {"tracks": rows})
    assert (told in calibrated.note().splitlines()) is not stops


def refused(settings: Settings, caplog: pytest.LogCaptureFixture) -> tuple[str, list[str]]:
    """Return the line with which a plan is refused, and those before it."""
    caplog.clear()
    line = refusal(lambda: check_calibration(settings, PROFILE))
    return line, caplog.messages


def test_the_stop_says_what_was_found_what_it_means_and_the_ways_on(
    calibrated: Calibrated, caplog: pytest.LogCaptureFixture
) -> None:
    settings = calibrated.settings
    check_calibration(settings, PROFILE)  # nothing is known
    calibrated.remember(a_calibration("canonical"))
    check_calibration(settings, PROFILE)

    calibrated.remember(a_calibration("padded", "padded"))
    line, before = refused(settings, caplog)
    assert line == (
        "calibration: 2 of 2 baseline vectors match padded, not canonical (largest distance 0.00). "
        "Vectors of two recipes do not compare: with new ones of canonical meta.json would hold "
        "two libraries in one index, in which similar tracks are not found. Nothing was embedded, "
        "and nothing is lost: choose one of the ways on above"
    )
    assert before == [
        "recipe  rows  vectors from  to          largest distance",
        "padded  2     2026-01-01    2026-01-02  0.00",
        "the ways on, each with the line to type:",
        "1. follow the library, with padded (embedding.profile): "
        "snakemake --cores 2 --config 'embedding={profile: padded}'",
        "2. make all vectors anew with canonical, for one recipe in the whole library: "
        "snakemake --cores 2 --config 'meta={reembed: all}'",
        "3. go on as it is; the audit keeps saying so: "
        "snakemake --cores 2 --config accept_calibration=true",
    ]

    calibrated.remember(a_calibration("canonical", "whole", "padded"))
    _, before = refused(settings, caplog)
    assert [cells.split() for cells in before[1:4]] == [
        ["canonical", "1", "2026-01-01", "2026-01-01", "0.00"],
        ["whole", "1", "2026-01-02", "2026-01-02", "0.00"],
        ["padded", "1", "2026-01-03", "2026-01-03", "0.00"],
    ]
    assert before[5].endswith("'embedding={profile: padded}' accept_calibration=true")
    calibrated.remember(a_calibration("padded", "canonical"))
    _, before = refused(settings, caplog)
    assert before[4].startswith("1. follow the newest vectors, with canonical as now: ")

    calibrated.remember(a_calibration("canonical", "unknown"))
    line, before = refused(settings, caplog)
    assert "Another model, other weights or another program made them" in line
    assert before[2].split()[-1] == "9.25"
    assert before[4].endswith("--config 'model={name: FOLDER_OR_ID}'")

    caplog.clear()
    check_calibration(changed(settings, accept=True), PROFILE)
    assert caplog.messages[0].endswith("going on, as accept_calibration says")
    check_calibration(changed(settings, tracks=0), PROFILE)
    check_calibration(changed(settings, reembed="all"), PROFILE)


def test_vectors_of_the_library_are_read_with_its_settings(calibrated: Calibrated) -> None:
    found = read_baseline_vectors(calibrated.settings, PROFILE)
    assert [vector.meta_key for vector in found] == [f"/m/{number}.mp3" for number in range(4)]
    assert {vector.path for vector in found} == {None}
