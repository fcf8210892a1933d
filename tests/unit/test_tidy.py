"""Tidying does what is asked for and nothing else, loses nothing, and can be taken back."""

from __future__ import annotations

import json
import logging
import os
import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mert_backfill.errors import UserError
from mert_backfill.health.jobs import read_audit_inputs
from mert_backfill.health.losses import check_nothing_lost
from mert_backfill.library.meta_file import MetaFile, stale_meta_keys
from mert_backfill.library.meta_text import MetaEdit, MetaText
from mert_backfill.library.roots import is_mount
from mert_backfill.meta.publish import publish_library, unpublish_library
from mert_backfill.meta.rebuild import rebuild_library
from mert_backfill.meta.tidy import tidy_library
from mert_backfill.records.scan_state import ScanState
from mert_backfill.records.tidied import TidyChange, read_archived, read_tidied
from mert_backfill.system.tables import read_jsonl
from support.checks import refusal
from support.fakes import D
from support.meta_home import ALL, CUES, PROFILE, Home, Rows

Archived = Collection[tuple[str, str]]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def disordered(home: Home) -> Home:
    """Return a library with one row of each kind, rebuilt."""
    home.fill()
    return home


def test_what_it_does(disordered: Home, caplog: pytest.LogCaptureFixture) -> None:
    home = disordered
    before = home.tracks()
    moved = "C:\\Music\\New\\Artist - Moved Song.mp3"
    own = "C:\\Music\\House\\Zwei Wörter.mp3"
    with caplog.at_level(logging.INFO):
        home.tidy()
    told = caplog.messages
    assert "2 rows relinked, 1 merged, 1 archived; undo: snakemake --cores 1 untidy" in told
    assert any(
        line.startswith("1 row left alone, since nobody can look where their files were: 'E:\\\\")
        for line in told
    )
    tracks = home.tracks()
    assert list(tracks) == [
        "C:\\Music\\House\\There.mp3",
        moved,
        "C:\\Music\\New\\Artist - Bare Song.mp3",
        own,
        "E:\\gone.mp3",
        "E:\\Artist - Unseen Song.mp3",
    ]
    vector = str(home.results.store(PROFILE.name))
    assert tracks[moved]["bpm"] == 128.5
    assert tracks[moved]["cues"] == CUES
    assert tracks[moved]["embedding"].startswith(vector)  # in place of one that is not there
    assert tracks[moved]["embedding_profile"] == PROFILE.name
    assert tracks[own] == {"bpm": 100, "cues": CUES, "tags": ["a", "b"], "rating": 5}
    assert b'"bpm": 128.50' not in home.meta()  # json.dumps wrote it as 128.5
    changes = {change.change: change for change in read_tidied(home.results.tidied)}
    merge = changes["merge"]
    assert json.loads(merge.left["c:/music/HOUSE/Zwei Wörter.mp3"]) == {"bpm": 99}
    assert json.loads(merge.left[own]) == {"cues": [{"t": 1}]}
    assert {key: json.loads(row) for key, row in merge.before.items()} == {
        key: before[key] for key in (own, "c:/music/HOUSE/Zwei Wörter.mp3")
    }
    lines = list(read_jsonl(home.results.archived_rows))
    assert [(line["meta_key"], line["row"]) for line in lines] == [
        ("F:\\gone.mp3", {"artist": "A", "title": "B"})
    ]
    home.audit()


def test_it_is_done_once_and_taken_back_to_the_byte(disordered: Home) -> None:
    home = disordered
    before, live = home.meta(), home.live.read_bytes()
    home.tidy()
    after = home.state()
    assert home.tidy().done == ()
    assert home.state() == after
    rebuild_library(home.settings(), PROFILE)
    assert home.state() == after
    home.untidy()
    assert home.meta() == before
    assert not home.results.tidied.exists()
    assert home.live.read_bytes() == live
    home.audit()
    with pytest.raises(UserError, match="nothing in it was tidied"):
        home.untidy()
    for what in ALL:  # one at a time makes the same
        home.tidy(what)
    rebuild_library(home.settings(), PROFILE)
    assert home.meta() == after["meta.json"]


def test_the_audit_notices_one_field_that_is_lost(disordered: Home) -> None:
    home = disordered
    home.tidy()
    home.audit()
    inputs = read_audit_inputs(home.settings(), PROFILE)
    before, whole = inputs.baseline, home.meta()
    stale = stale_meta_keys(inputs.listing, before)

    def check(text: str, tidied: Sequence[TidyChange], archived: Archived) -> None:
        now = MetaText(text)
        rebuilt = MetaFile(now.document, text=now, path_map=home.settings().meta.path_map)
        check_nothing_lost(before, rebuilt, stale, lambda key: False, tidied, archived)

    records = (inputs.tidied, inputs.archived)
    meta = MetaText(whole.decode())
    check(meta.text, *records)
    theirs = {name for row in before.tracks.values() for name in row if name != "embedding"}
    lost = 0
    for key, row in meta.document["tracks"].items():
        ours = set() if key in before.tracks else {"artist", "title"}
        for name in (theirs & row.keys()) - ours:
            with pytest.raises(UserError, match=f"the field '{name}' of the row"):
                check(meta.edited(MetaEdit(dropped={key: [name]})), *records)
            lost += 1
    assert lost == 11
    for key, what in (("tags", "a"), ("tags", "b")):
        text = meta.text.replace(f'"{what}"', '"other"')
        with pytest.raises(UserError, match=f"the field '{key}'"):
            check(text, *records)
    for change in inputs.tidied:
        if change.left:
            others = [replace(it, left={}) if it is change else it for it in inputs.tidied]
            with pytest.raises(UserError, match=r"the field '(bpm|embedding|cues)' of"):
                check(meta.text, others, inputs.archived)
    with pytest.raises(UserError, match="the field 'artist' of the row 'F:"):
        check(meta.text, inputs.tidied, ())


@pytest.mark.parametrize("what", ALL)
def test_only_what_is_asked_for(disordered: Home, what: str) -> None:
    done = disordered.tidy(what).done
    assert {change.change for change in done} == {what}
    disordered.audit()


def test_without_apply_it_says_what_there_is_to_do(
    disordered: Home, caplog: pytest.LogCaptureFixture
) -> None:
    before = disordered.state()
    with caplog.at_level(logging.INFO):
        tidy_library(disordered.settings(), PROFILE)
    assert caplog.messages[-1] == (
        "nothing was done; proposed (rows): relink 2, merge 1, archive 1; to do it: "
        "snakemake --cores 1 tidy --config apply=relink,merge,archive"
    )
    assert disordered.state() == before


def test_unknown_words_are_refused(home: Home) -> None:
    assert refusal(lambda: home.settings("relink", "all")).startswith("config: apply.1: 'all'")


def test_what_the_baseline_gains_later_is_tidied_with_it(disordered: Home) -> None:
    home = disordered
    home.tidy()
    home.rows["C:\\Music\\Old\\Artist - Moved Song.mp3"]["rating"] = 4
    home.rebuild()
    assert home.tracks()["C:\\Music\\New\\Artist - Moved Song.mp3"]["rating"] == 4
    home.audit()
    home.untidy()
    assert home.meta() == home.rebuild()


def test_a_row_whose_file_is_back_stays(disordered: Home) -> None:
    home = disordered
    home.tidy()
    home.file("Old/Artist - Moved Song.mp3")
    (home.folder / "f" / "gone.mp3").touch()
    rebuild_library(home.settings(), PROFILE)
    assert "C:\\Music\\Old\\Artist - Moved Song.mp3" in home.tracks()
    assert "F:\\gone.mp3" in home.tracks()
    home.audit()


def test_a_row_that_somebody_made_something_of_is_archived_no_more(disordered: Home) -> None:
    disordered.tidy("archive")
    disordered.rows["F:\\gone.mp3"]["cues"] = [1]
    disordered.rebuild()
    assert disordered.tracks()["F:\\gone.mp3"]["cues"] == [1]


def test_published_it_is_the_baseline_and_unpublished_it_holds_again(disordered: Home) -> None:
    home = disordered
    live = home.live.read_bytes()
    home.tidy()
    tidied = home.meta()
    publish_library(home.settings())
    assert home.live.read_bytes() == tidied
    rebuild_library(home.settings(), PROFILE)
    assert home.meta() == tidied
    home.audit()
    home.untidy()  # nothing to take back here: `unpublish` does that
    assert home.meta() == tidied
    unpublish_library(home.settings())
    assert home.live.read_bytes() == live
    rebuild_library(home.settings(), PROFILE)
    assert home.meta() == tidied
    home.untidy()
    publish_library(home.settings())
    assert json.loads(home.live.read_bytes())["tracks"].keys() >= json.loads(live)["tracks"].keys()


def test_publishing_carries_it_into_a_file_that_has_changed(disordered: Home) -> None:
    home = disordered
    home.tidy()
    there = home.file("House/There.mp3")
    home.live.write_bytes(home.live.read_bytes().replace(b'"bpm": 120', b'"bpm": 121'))
    publish_library(home.settings())
    published = json.loads(home.live.read_bytes())["tracks"]
    assert published[there]["bpm"] == 121
    assert published == {**home.tracks(), there: published[there]}


def test_where_all_are_to_have_one_recipe_an_old_vector_gives_way(home: Home) -> None:
    old = home.folder / "old.npy"
    np.save(old, np.ones(D, np.float16))
    home.row("C:\\Music\\Old\\Artist - Moved Song.mp3", bpm=1, embedding=str(old))
    moved = home.file("New/Artist - Moved Song.mp3", embedded=True)
    home.rebuild()
    home.tidy("relink")
    assert home.tracks()[moved]["embedding"] == str(old)
    home.untidy()
    home.tidy("relink", meta={"reembed": "all"})
    assert home.tracks()[moved]["embedding_profile"] == PROFILE.name
    assert home.tracks()[moved]["bpm"] == 1
    home.audit()


def test_over_half_of_the_rows_leave_only_if_that_is_meant(home: Home) -> None:
    (home.folder / "f").mkdir()
    (home.folder / "f" / "other.txt").touch()
    home.row(home.file("a.mp3"), bpm=1)
    for number in range(2):
        home.row(f"F:\\gone{number}.mp3")
    before = home.rebuild()
    told = refusal(lambda: home.tidy())
    assert told.startswith("tidy: archive would take 2 of 3 rows out of meta.json, such as 'F:")
    assert home.meta() == before
    home.tidy(accept_shrunken_library=True)
    assert list(home.tracks()) == ["C:\\Music\\a.mp3"]


@pytest.mark.parametrize("policy", ["keep", "archive", "prune"])
def test_a_disk_below_a_root_that_is_away_is_refused(disordered: Home, policy: str) -> None:
    home = disordered
    (home.music / "nas").mkdir()
    ScanState(mounts=[str(home.music / "nas")]).write(home.results)
    before, meta = home.meta(), {"stale_policy": policy}
    assert not is_mount(str(home.music / "nas"))
    assert "another disk was mounted here" in refusal(lambda: home.tidy(meta=meta))
    if policy != "keep":
        told = refusal(lambda: rebuild_library(home.settings(meta=meta), PROFILE))
        assert "another disk was mounted here" in told
    assert home.meta() == before
    (home.music).rename(home.folder / "away")
    assert "there is no folder" in refusal(home.tidy)


@pytest.mark.parametrize("policy", ["archive", "prune"])
def test_a_policy_takes_nothing_that_may_be_relinked_and_archives_what_was_made(
    disordered: Home, policy: str
) -> None:
    home = disordered
    home.row("F:\\made.mp3", cues=[7])
    home.rebuild()
    home.tidy("relink", meta={"stale_policy": policy})
    tracks = home.tracks()
    assert "C:\\Music\\New\\Artist - Moved Song.mp3" in tracks
    assert "F:\\gone.mp3" not in tracks
    archived = {key for key, _ in read_archived(home.results.archived_rows)}
    assert archived == {"F:\\made.mp3"} | ({"F:\\gone.mp3"} if policy == "archive" else set())


def test_a_tidy_that_was_interrupted_is_not_published(disordered: Home) -> None:
    home = disordered
    before, source = home.meta(), home.results.meta_source.read_bytes()
    home.tidy()
    home.results.meta.write_bytes(before)
    home.results.meta_source.write_bytes(source)
    told = refusal(lambda: publish_library(home.settings()))
    assert "tidying it was interrupted" in told
    home.tidy()
    publish_library(home.settings())


def test_without_the_record_all_comes_back(disordered: Home) -> None:
    home = disordered
    before = home.meta()
    home.tidy()
    home.results.tidied.unlink()
    told = refusal(lambda: publish_library(home.settings()))
    assert "or take it back with `snakemake --cores 1 untidy`" in told
    home.untidy()
    assert home.meta() == before
    publish_library(home.settings())


def test_a_damaged_record_is_refused_and_kept(disordered: Home) -> None:
    home = disordered
    home.tidy()
    home.results.tidied.write_text('{"change": "merge"}\n')
    told = refusal(lambda: rebuild_library(home.settings(), PROFILE))
    assert "tidied.jsonl: line 1 is damaged" in told
    assert home.results.tidied.read_text() == '{"change": "merge"}\n'


SYLLABLES = ["ka", "lo", "mi", "ter", "vo", "sha", "ren", "du", "pix", "zor", "ben", "ju"]


def test_ten_thousand_rows_of_known_truth(home: Home) -> None:
    """Moved, renamed, in four spellings, bare, outside, gone, swapped: each row ends where its
    song is, with all that somebody made of it, and back where it was."""
    rng = random.Random(7)

    def words(count: int) -> str:
        return " ".join("".join(rng.choices(SYLLABLES, k=3)).title() for _ in range(count))

    (home.folder / "f").mkdir()
    (home.folder / "f" / "other.txt").touch()
    truth: Rows = {}
    kinds: Counter[str] = Counter()
    number = 0
    while len(home.rows) < 10_000:
        number += 1
        artist, title, folder = f"{words(2)} {number}x", words(2), f"{words(1)}/{number % 50}"
        name, made = f"{artist} - {title}.mp3", {"cues": [number], "bpm": number / 7}
        kind = number % 8
        match kind:
            case 0 | 1:  # it is where it was
                key = home.row(home.file(f"{folder}/{name}"), **made)
                truth[key] = made
            case 2:  # moved
                home.row(f"C:\\Music\\Old\\{name}", **made)
                truth[home.file(f"{folder}/{name}")] = made
            case 3:  # renamed
                home.row(f"C:\\Music\\{folder}\\{name}", **made)
                other = f"{number % 9 + 10} - {artist}_-_{title} (Original Mix).FLAC"
                truth[home.file(f"{folder}/{other.upper()}")] = made
            case 4:  # four spellings
                key = home.file(f"{folder}/{name}")
                parts: list[dict[str, Any]] = [
                    {"bpm": 1},
                    {"cues": [1, 2]},
                    {"tags": ["a"]},
                    {"tags": ["b"], "x": {}},
                ]
                spelled = key.replace("\\", "/")
                keys = (spelled.lower(), spelled, key, key.upper().replace("MP3", "mp3"))
                for key_, part in zip(keys, parts, strict=True):
                    home.row(key_, **part)
                truth[key] = {"tags": ["a", "b"], "bpm": 1, "cues": [1, 2], "x": {}}
            case 5:  # bare
                home.row(name, **made)
                truth[home.file(f"{folder}/{name}")] = made
            case 6:  # outside, where somebody can look, and where nobody can
                made = made if number % 3 else {}
                home.row(f"F:\\{name}", **made)
                if made:
                    truth[f"F:\\{name}"] = made
                truth[home.row(f"E:\\sold\\{name}")] = {}
            case 7:  # two songs changed their names
                other = f"{words(2)} {number}y - {words(2)}.mp3"
                for one, two in ((name, other), (other, name)):
                    home.row(f"C:\\Music\\Swap\\{one}", artist=one[:5], title=one, **made)
                    truth[f"C:\\Music\\Swap\\{one}"] = {"artist": one[:5], "title": one, **made}
                    home.file(f"{folder}/{two[:-4]} Remix.mp3")
        kinds[str(kind)] += 1
    before = home.rebuild()
    home.tidy()
    tracks = home.tracks()
    assert tracks.keys() == truth.keys()
    for key, row in truth.items():
        assert tracks[key] == row, key
    home.audit()
    home.untidy()
    assert home.meta() == before


def test_a_mount_is_where_another_disk_begins() -> None:
    assert is_mount("/proc") == (os.stat("/proc").st_dev != os.stat("/").st_dev)
    assert not is_mount("/proc/self")
    assert not is_mount("/no such folder")
