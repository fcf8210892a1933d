"""Whether results/ belongs to the library that a run is about."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mert_backfill.errors import UserError
from mert_backfill.hints import Caller, announce_caller
from mert_backfill.library.listing import list_library
from mert_backfill.plan.ownership import (
    check_owner,
    check_room_for_demo,
    demo_note,
    is_left_by_demo,
    owner_of,
    set_demo_aside,
)
from mert_backfill.records.owner import Owner
from mert_backfill.settings import Settings

HERE = "snakemake --cores 2 --configfile mine.yaml"


@pytest.fixture(autouse=True)
def _caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERT_BACKFILL_CALL", "")
    announce_caller(Caller(cores=2, files=("mine.yaml",)))


def settings_for(folder: Path, roots: Mapping[str, str], **more: Any) -> Settings:
    """Return settings for roots below `folder`, in each of which there is music."""
    for path in roots.values():
        (folder / path).mkdir(parents=True, exist_ok=True)
    entries = [{"name": name, "path": path} for name, path in roots.items()]
    return Settings.model_validate({"library": {"roots": entries}, **more}, context=folder)


def add(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def ran(settings: Settings) -> None:
    """Leave what a run of the library leaves."""
    listing = list_library(settings.library.roots, settings.library.extensions)
    owner_of(settings, listing).write(settings.results)


@pytest.fixture
def main(tmp_path: Path) -> Settings:
    """Return the settings of a library that has run."""
    add(tmp_path / "disk", *(f"{number}.mp3" for number in range(20)))
    settings = settings_for(tmp_path, {"main": "disk"}, meta={"baseline": "old/meta.json"})
    ran(settings)
    return settings


def test_the_record_comes_back(main: Settings) -> None:
    owner = Owner.read(main.results)
    assert owner is not None
    assert owner.roots == main.library.roots
    assert (owner.baseline, owner.is_demo) == (str(main.meta.baseline), False)
    assert owner.command == HERE
    assert len(owner.tracks) == 20


@pytest.mark.parametrize("text", ["", "[]", '{"roots": []}', '{"roots": [{"name": "x"}]}'])
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, main: Settings, text: str) -> None:
    main.results.owner.write_text(text)
    assert Owner.read(main.results) is None
    check_owner(settings_for(tmp_path, {"other": "elsewhere"}))


@pytest.mark.parametrize(
    ("roots", "meta"),
    [
        ({"main": "disk"}, {}),
        ({"renamed": "disk"}, {}),
        ({"main": "disk", "more": "more"}, {}),
        ({"main": "disk/House"}, {}),
        ({"new": "elsewhere"}, {"baseline": "old/meta.json"}),
        ({"main": "empty"}, {}),  # for those to refuse who know what unmounted looks like
    ],
    ids=["same", "renamed", "one more", "a part", "same meta.json", "empty"],
)
def test_a_library_changes_and_is_the_same_one(
    tmp_path: Path, main: Settings, roots: dict[str, str], meta: dict[str, str]
) -> None:
    add(tmp_path / "elsewhere", "other.mp3")
    check_owner(settings_for(tmp_path, roots, meta=meta))


def test_a_library_that_moved_to_another_disk_is_the_same_one(
    tmp_path: Path, main: Settings
) -> None:
    add(tmp_path / "disk2", "1.mp3", "2.mp3", "new/3.mp3")  # most of it is gone
    check_owner(settings_for(tmp_path, {"main": "disk2"}))


@pytest.mark.parametrize("roots", [{"main": "other"}, {"second": "other"}])
def test_another_library_is_refused_with_the_command_of_the_last_run(
    tmp_path: Path, main: Settings, roots: dict[str, str]
) -> None:
    add(tmp_path / "other", "1.mp3", *(f"song {number}.mp3" for number in range(20)))
    (name,) = roots
    with pytest.raises(UserError) as refused:
        check_owner(settings_for(tmp_path, roots))
    assert str(refused.value) == (
        f"{tmp_path}/results holds the library main ({tmp_path}/disk); you asked for {name} "
        f"({tmp_path}/other). Did you forget an option? Its last run was `{HERE}`. If not, a "
        "second library needs a folder of its own (--directory); if it is the same one after all, "
        "add --config accept_other_library=true"
    )
    check_owner(settings_for(tmp_path, roots, accept_other_library=True))


def test_the_demo_is_refused_where_a_library_is(tmp_path: Path, main: Settings) -> None:
    demo = settings_for(tmp_path, {"demo": "demo/music"})
    with pytest.raises(
        UserError, match=r"main .* you asked for demo .* `snakemake --cores 2 --dir"
    ):
        check_owner(demo)
    with pytest.raises(UserError, match="you asked for the demo"):
        check_room_for_demo(main.results)
    assert demo_note(main) == ""


def test_the_results_of_the_demo_make_room(tmp_path: Path) -> None:
    demo = settings_for(tmp_path, {"demo": "demo/music"})
    own = settings_for(tmp_path, {"main": "disk"})
    for place in ("demo/results", "demo/results-2"):
        ran(demo)
        assert is_left_by_demo(own)
        assert demo_note(own) == f"a run moves the demo's results to {tmp_path / place} first"
        check_owner(own)
        check_owner(demo)
        assert set_demo_aside(own) == tmp_path / place
        assert not own.results.folder.exists()
        assert (tmp_path / place / ".state" / "library.json").exists()
        assert not is_left_by_demo(own)


def test_results_that_are_a_link_stay_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "big disk").mkdir()
    (tmp_path / "results").symlink_to("big disk")
    ran(settings_for(tmp_path, {"demo": "demo/music"}))
    with pytest.raises(UserError, match="move or delete what is in it"):
        set_demo_aside(settings_for(tmp_path, {"main": "disk"}))
    assert (tmp_path / "big disk" / ".state").exists()
