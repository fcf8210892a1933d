"""A library whose truth is known: every finding is right, and no proposal wrong."""

from __future__ import annotations

import csv
import json
import logging
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mert_backfill.config import load_settings
from mert_backfill.library.listing import AudioFile, Listing
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.library.names import is_telling, plain_name
from mert_backfill.library.paths import PathMap, track_id
from mert_backfill.library.roots import Root
from mert_backfill.meta.prefixes import Prefix, likely_prefixes
from mert_backfill.meta.triage import Finding, Triage, TriageInputs, make_triage, triage_library
from mert_backfill.records.track_notes import TrackNote
from mert_backfill.system.tables import write_json
from mert_backfill.tags import Tags

ROOT = Root("m", Path("/music"))
USER = {"bpm": 120}
SYLLABLES = ["ka", "lo", "mi", "ter", "vo", "sha", "ren", "du", "pix", "zor", "ben", "ju"]


class World:
    """Files and rows, made one by one."""

    def __init__(self, pairs: list[tuple[str, str]] | None = None) -> None:
        self.path_map = PathMap(pairs or [])
        self.files: list[AudioFile] = []
        self.rows: dict[str, dict[str, Any]] = {}
        self.notes: dict[str, TrackNote] = {}

    def file(self, relative: str, note: TrackNote | None = None) -> str:
        identity = track_id(ROOT.name, relative)
        path = f"{ROOT.path}/{relative}"
        self.files.append(AudioFile(ROOT.name, path, identity, 1, 1))
        if note is not None:
            self.notes[identity] = note
        return path

    def row(self, key: str, **fields: Any) -> str:
        self.rows[key] = fields
        return key

    def triage(self) -> Triage:
        listing = Listing(tuple(self.files), (), (), (), roots=(ROOT,))
        baseline = MetaFile({"tracks": self.rows}, path_map=self.path_map)
        return make_triage(TriageInputs(baseline, listing, [ROOT], self.path_map, self.notes))

    def finding(self) -> Finding:
        (finding,) = self.triage().findings
        return finding


def note(artist: str | None = None, title: str | None = None, **more: Any) -> TrackNote:
    return TrackNote(Tags(artist, title), more.get("sound"), more.get("length"))


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Artist - Title.mp3", "ARTIST - title.flac"),
        ("Björk - Jóga.mp3", "bjork - joga.mp3"),
        ("Artist - Title (Original Mix).mp3", "artist_-_title.mp3"),
        ("01 - Artist - Title.mp3", "Artist - Title.mp3"),
        ("A1. Artist - Title.mp3", "07 Artist - Title.mp3"),
        ("Artist feat. Other - Title.mp3", "Artist ft Other - Title.mp3"),
        ("A & B - Title!.mp3", "A and B - Title.mp3"),
        ("C:\\Music\\Artist - Title.mp3", "/m/Artist - Title.mp3"),
    ],
)
def test_names_that_are_the_same_to_a_person(one: str, other: str) -> None:
    assert plain_name(one) == plain_name(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Artist - Part 1.mp3", "Artist - Part 2.mp3"),
        ("Artist - Title (Dub Mix).mp3", "Artist - Title.mp3"),
        ("7 Days.mp3", "9 Days.mp3"),
        ("50 Cent - X.mp3", "Cent - X.mp3"),
        ("01.mp3", "02.mp3"),
    ],
)
def test_names_that_are_not(one: str, other: str) -> None:
    assert plain_name(one) != plain_name(other)


def test_telling_names() -> None:
    assert is_telling("03 - Artist - Long Title.mp3")
    for name in ("01 - Intro.mp3", "Track 01.mp3", "Intro.mp3", "A - B.mp3", " - .mp3"):
        assert not is_telling(name)


def test_the_sound_is_the_best_evidence(world: World) -> None:
    world.row("/music/old/x.mp3", **USER)
    world.notes[track_id("m", "old/x.mp3")] = note(sound="f")
    target = world.file("new/quite another.mp3", note(sound="f"))
    world.file("new/x.mp3", note(sound="0"))
    finding = world.finding()
    assert (finding.proposal, finding.target, finding.confidence) == ("relink", target, 1.0)
    assert finding.evidence == "the same sound"


def test_two_files_of_the_same_sound_are_for_somebody_to_choose(world: World) -> None:
    world.row("/music/old/x.mp3")
    world.notes[track_id("m", "old/x.mp3")] = note(sound="f")
    paths = [world.file(name, note(sound="f")) for name in ("a.mp3", "b.mp3")]
    finding = world.finding()
    assert (finding.proposal, json.loads(finding.target)) == ("ambiguous", paths)


def test_another_sound_is_no_candidate(world: World) -> None:
    world.row("/music/old/Artist - Long Title.mp3")
    world.notes[track_id("m", "old/Artist - Long Title.mp3")] = note(sound="f")
    world.file("new/Artist - Long Title.mp3", note(sound="0"))
    assert world.finding().proposal == ""


@pytest.mark.parametrize(
    ("row", "found", "confidence"),
    [
        ({"artist": "A", "title": "T"}, note("a", "t"), 0.98),
        ({"artist": "A", "title": "T"}, note("a", "other"), 0.4),
        ({"duration": 61.5}, note(length=60.0), 0.96),
        ({"duration": 63.0}, note(length=60.0), 0.4),
        ({"duration": 300.0}, note(length=120.0), 0.8),
        ({"duration": 100.0}, note(length=120.0), 0.4),
        ({}, note(), 0.8),
        ({}, None, 0.8),
    ],
)
def test_a_name_counts_as_much_as_what_goes_with_it(
    world: World, row: dict[str, Any], found: TrackNote | None, confidence: float
) -> None:
    world.row("/music/old/01 - Intro.mp3", **row)
    world.file("new/01 - Intro.mp3", found)
    finding = world.finding()
    assert finding.confidence == confidence
    assert finding.proposal == ("relink" if confidence >= 0.92 else "ambiguous")


def test_a_name_in_a_folder_of_the_same_name(world: World) -> None:
    world.row("/gone/Some Album/01 - Intro.mp3")
    target = world.file("new/some_album/01 - Intro.mp3")
    finding = world.finding()
    assert (finding.kind, finding.proposal, finding.target) == ("archive_remove", "relink", target)


def test_a_name_alike_is_proposed_with_tags_only(world: World) -> None:
    world.row("/music/Artiste - Longer Title.mp3", artist="Artist", title="Longer Title")
    world.file("new/Artist - Longer Title.mp3")
    assert world.finding().proposal == "ambiguous"
    world.notes[world.files[0].track_id] = note("Artist", "Longer Title")
    assert world.finding().proposal == "relink"


def test_numbers_are_never_merely_alike(world: World) -> None:
    world.row("/music/Artist - A Long Title Part 1.mp3", artist="A", title="T")
    world.file("new/Artist - A Long Title Part 2.mp3", note("A", "T"))
    assert world.finding().proposal == ""


@pytest.mark.parametrize("many", [50, 51, 400])
def test_all_files_of_a_name_are_listed_once(world: World, many: int) -> None:
    rows = [world.row(f"/music/old {number}/Track 01.mp3") for number in range(3)]
    paths = [world.file(f"{number}/Track 01.mp3") for number in range(many)]
    first, *others = world.triage().findings
    assert [one.proposal for one in (first, *others)] == ["ambiguous"] * 3
    assert json.loads(first.target) == sorted(paths)
    for other in others:
        if many > 50:
            assert other.target == ""
            assert other.evidence == f"the name of many files, listed at {rows[0]!r}"
        else:
            assert other.target == first.target


@pytest.mark.parametrize(
    ("key", "row", "evidence"),
    [
        ("/music/old/Album 7/Track 01.mp3", {}, "name, of 99 files, and folder"),
        ("/music/Track 01.mp3", {"artist": "A", "title": "seven"}, "name, of 99 files, and tags"),
        ("/music/Track 01.mp3", {"duration_s": 70.5}, "name, of 99 files, and length"),
    ],
)
def test_one_of_many_files_may_speak_for_itself(
    world: World, key: str, row: dict[str, Any], evidence: str
) -> None:
    world.row(key, **row)
    target = world.file("new/album_7/Track 01.mp3", note("A", "Seven", length=70.0))
    for number in range(98):
        world.file(f"new/{number}/Track 01.mp3")
    finding = world.finding()
    assert (finding.proposal, finding.target) == ("relink", target)
    assert finding.evidence == evidence


def test_two_rows_for_one_file_are_for_somebody_to_choose(world: World) -> None:
    for folder in ("one", "two"):
        world.row(f"/music/{folder}/Artist - Long Title.mp3", **USER)
    target = world.file("new/Artist - Long Title.mp3")
    triage = world.triage()
    assert [finding.proposal for finding in triage.findings] == ["ambiguous"] * 2
    assert {finding.target for finding in triage.findings} == {json.dumps([target])}


def test_a_file_with_a_row_of_somebodys_is_taken_and_one_with_ours_is_not(world: World) -> None:
    world.row("/music/old/Artist - Long Title.mp3", **USER)
    path = world.file("new/Artist - Long Title.mp3")
    world.row(path, artist="A", title="T", embedding="x.npy", embedding_profile="p")
    assert world.finding().proposal == "relink"
    world.rows[path]["cues"] = [1]
    finding = world.finding()
    assert (finding.kind, finding.proposal) == ("duplicate_stale_candidate", "")
    assert finding.evidence == f"{path} has a row"


def test_what_is_nowhere_to_be_seen(world: World, tmp_path: Path) -> None:
    (tmp_path / "other.txt").touch()
    gone = world.row(str(tmp_path / "gone.mp3"))
    unseen = world.row("E:\\Music\\unseen.mp3")
    made = world.row(str(tmp_path / "made.mp3"), cues=[1])
    inside = world.row("/music/away.mp3", **USER)
    found = {one.meta_key: (one.kind, one.proposal) for one in world.triage().findings}
    assert found == {
        gone: ("archive_remove", "archive"),
        unseen: ("archive_remove", ""),
        made: ("keep_review", ""),
        inside: ("inside_root_relink_candidate", ""),
    }


def test_rows_of_one_file_are_merged_into_its_own_spelling() -> None:
    world = World([("C:/Music", "/music")])
    world.file("Sub/a.mp3")
    spellings = [
        "c:/music/sub/A.mp3",
        "C:\\Music\\Sub\\a.mp3",
        "C:/Music/Sub/a.mp3",
        "/music/Sub/a.mp3",
    ]
    for key in [*spellings, "C:\\Music\\b.mp3", "C:\\Music\\c.mp3"]:
        world.row(key, **USER)
    merged = [one for one in world.triage().findings if one.kind == "duplicate_row"]
    assert {one.meta_key for one in merged} == set(spellings) - {spellings[1]}
    assert {(one.proposal, one.target) for one in merged} == {("merge", spellings[1])}


def test_a_line_of_path_map_is_told_from_ends_that_fit() -> None:
    keys = [f"D:\\Old\\Music\\Artist {n}\\Album\\{n}.mp3" for n in range(6)]
    paths = [f"/music/Artist {n}/Album/{n}.mp3" for n in range(6)]
    assert likely_prefixes(keys, paths) == (Prefix("D:/Old/Music", "/music", 6),)
    assert '- {from: "D:/Old/Music", to: "/music"}' in str(likely_prefixes(keys, paths)[0])
    assert likely_prefixes(keys[:4], paths) == ()
    assert likely_prefixes([f"/x/{n}.mp3" for n in range(9)], paths) == ()


def words(rng: random.Random, count: int) -> str:
    return " ".join("".join(rng.choices(SYLLABLES, k=3)).title() for _ in range(count))


@pytest.mark.parametrize("count", [10_000])
def test_a_library_of_known_truth(count: int) -> None:
    """Moved, renamed, bare, gone, outside and doubled rows: each is what it is, and whatever is
    proposed is true."""
    rng, world = random.Random(7), World()
    truth: dict[str, tuple[str, str]] = {}
    for number in range(count):
        artist, title = f"{words(rng, 2)} {number}x", words(rng, 2)
        name, folder = f"{artist} - {title}.mp3", words(rng, 1)
        old = f"/music/{folder}/{name}"
        match number % 8:
            case 0:
                world.row(world.file(f"{folder}/{name}"), **USER)
            case 1:
                target = world.file(f"moved/{folder}/{name}")
                truth[world.row(old, **USER)] = ("inside_root_relink_candidate", target)
            case 2:
                other = f"0{number % 9 + 1} - {artist}_-_{title} (Original Mix).flac"
                target = world.file(f"{folder}/{other.upper()}")
                truth[world.row(old, **USER)] = ("inside_root_relink_candidate", target)
            case 3:
                target = world.file(f"{folder}/{name}")
                truth[world.row(name, **USER)] = ("bare_path", target)
            case 4:
                truth[world.row(old, **USER)] = ("inside_root_relink_candidate", "")
            case 5:
                truth[world.row(f"F:\\sold\\{name}", **USER)] = ("keep_review", "")
            case 6:
                path = world.file(f"{folder}/{name}")
                world.row(path, **USER)
                truth[world.row(f"/music/./{folder}/{name}", **USER)] = ("duplicate_row", path)
            case 7:
                world.row(world.file(f"{folder}/{name}"), **USER)
                stale = world.row(f"/music/old/{folder}/{name}", **USER)
                truth[stale] = ("duplicate_stale_candidate", "")
    triage = world.triage()
    found = {one.meta_key: (one.kind, one.target) for one in triage.findings}
    assert found == truth
    kinds = Counter(kind for kind, _ in truth.values())
    counts = triage.counts
    assert counts["stale_total"] == sum(
        counts[f"{kind}_total"]
        for kind in (
            "duplicate_stale_candidate",
            "inside_root_relink_candidate",
            "archive_remove",
            "keep_review",
        )
    )
    assert (
        counts["stale_inside_root_total"] + counts["stale_outside_root_total"]
        == (counts["stale_total"])
    )
    assert {kind: counts[f"{kind}_total"] for kind in kinds} == kinds
    assert counts["relink_total"] == 3 * count // 8
    assert counts["ambiguous_total"] == 0


def test_the_files_say_what_was_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "music" / "new").mkdir(parents=True)
    target = tmp_path / "music" / "new" / "Artist - Long Title.mp3"
    target.touch()
    stale = str(tmp_path / "music" / "old" / "Artist - Long Title.mp3")
    live = tmp_path / "data" / "meta.json"
    write_json(live, {"tracks": {stale: {"bpm": 1}}})
    config = {
        "library": {"roots": [{"name": "lib", "path": "music"}]},
        "meta": {"baseline": "data/meta.json"},
        "model": {"name": "."},
    }
    settings = load_settings(config, tmp_path)
    before = live.read_bytes()
    with caplog.at_level(logging.INFO):
        triage_library(settings)
    assert caplog.messages[-1].endswith(
        "triage.tsv; to do it: snakemake --cores 1 tidy --config apply=relink"
    )
    assert live.read_bytes() == before
    record = json.loads(settings.results.triage.read_bytes())
    assert record["counts"]["relink_total"] == record["counts"]["stale_total"] == 1
    assert record["samples"] == {"inside_root_relink_candidate": [stale]}
    assert record["path_map"] == []
    with settings.results.triage_table.open(newline="") as file:
        assert list(csv.DictReader(file, delimiter="\t")) == [
            {
                "kind": "inside_root_relink_candidate",
                "meta_key": stale,
                "path": stale,
                "proposal": "relink",
                "target": str(target),
                "confidence": "0.93",
                "evidence": "name",
            }
        ]
