"""Near-duplicates: what is one song, on what evidence, and which file of it to keep."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mert_backfill.atlas.duplicates import find_duplicates
from mert_backfill.atlas.neighbors import find_neighbors
from mert_backfill.atlas.table import Table
from mert_backfill.audio.tags import FileFacts, read_facts
from mert_backfill.library.listing import AudioFile
from mert_backfill.records.atlas import (
    AtlasTrack,
    DuplicateRow,
    read_duplicates,
    write_duplicates,
)
from mert_backfill.records.tracks import Sound
from mert_backfill.results import Results
from support.audio_files import music, write_audio

D = 64
LOSSLESS = {".flac", ".wav"}


class Shelf:
    """Files, what was heard of them and what they say, made one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tracks: list[AtlasTrack] = []
        self.files: list[AudioFile | None] = []
        self.directions: list[np.ndarray] = []
        self.sounds: dict[str, Sound] = {}
        self.facts: dict[str, FileFacts] = {}
        self.asked: Counter[str] = Counter()

    def add(
        self,
        name: str,
        direction: np.ndarray,
        *,
        heard: float | None = 100.0,
        sound: str | None = None,
        length: float | None = None,
        rates: tuple[int, int] = (44_100, 128_000),
        size: int = 10,
    ) -> None:
        path = self.folder / name
        path.write_bytes(bytes(size))
        identity = f"{len(self.tracks):020}"
        self.tracks.append(AtlasTrack(identity, name, str(path), None, name, heard, "p"))
        self.files.append(AudioFile("m", str(path), identity, size, 1))
        self.directions.append(direction / np.linalg.norm(direction))
        if heard is not None:
            self.sounds[identity] = Sound(heard, sound or identity)
        self.facts[str(path)] = FileFacts(length, *rates, path.suffix in LOSSLESS)

    def read_facts(self, path: str) -> FileFacts:
        self.asked[Path(path).name] += 1
        return self.facts[path]

    def groups(self) -> list[dict[str, str]]:
        """Return for each group each file's name and its evidence, the kept one first."""
        found: dict[int, dict[str, str]] = {}
        for row in self.rows():
            assert (row.proposal == "keep") == (row.group not in found)
            found.setdefault(row.group, {})[Path(row.path).name] = row.evidence
        return list(found.values())

    def rows(self) -> list[DuplicateRow]:
        unit = np.stack(self.directions).astype(np.float32)
        table = Table(tuple(self.tracks), tuple(self.files), unit, {})
        return find_duplicates(table, unit, find_neighbors(unit), self.sounds, self.read_facts)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    shelf = Shelf(tmp_path)
    for n in range(40):  # a library around it
        shelf.add(f"other {n}.mp3", np.random.default_rng(n).normal(size=D))
    return shelf


def direction(seed: int) -> np.ndarray:
    return np.random.default_rng(1000 + seed).normal(size=D)


def at(cosine: float, start: np.ndarray, towards: int = 7) -> np.ndarray:
    """Return a direction at a cosine to another."""
    start = start / np.linalg.norm(start)
    aside = direction(towards) - (direction(towards) @ start) * start
    return cosine * start + np.sqrt(1 - cosine**2) * aside / np.linalg.norm(aside)


def test_equal_sound_is_one_song(shelf: Shelf) -> None:
    shelf.add("a.mp3", direction(1), sound="s")
    shelf.add("b.mp3", direction(1), sound="s")
    assert shelf.groups() == [{"a.mp3": "alike in all: any will do", "b.mp3": "equal sound"}]
    assert set(shelf.asked) == {"a.mp3", "b.mp3"}  # no other file is opened


def test_equal_sound_of_two_lengths_is_two_songs(shelf: Shelf) -> None:
    """The first 120 s of a long version and of its edit may be the same."""
    shelf.add("long.wav", direction(1), heard=120, sound="s", length=400)
    shelf.add("edit.wav", direction(1), heard=120, sound="s", length=200)
    assert shelf.groups() == []
    shelf.add("what.wav", direction(1), heard=120, sound="s", length=None)
    assert shelf.groups() == [
        {
            "long.wav": "alike in all: any will do",
            "what.wav": "equal sound, as far as it was heard; how long they are is not known",
        }
    ]


@pytest.mark.parametrize(
    ("cosine", "lengths", "together"),
    [
        (0.995, (100, 101.9), True),
        (0.9899, (100, 100), False),
        (0.995, (100, 102.1), False),
        (0.995, (100, None), False),  # nothing says that they are of one length
    ],
)
def test_what_is_near_and_of_one_length_is_one_song(
    shelf: Shelf, cosine: float, lengths: tuple[float, float | None], together: bool
) -> None:
    shelf.add("a.mp3", direction(1), heard=lengths[0])
    shelf.add("b.mp3", at(cosine, direction(1)), heard=lengths[1])
    groups = shelf.groups()
    assert bool(groups) is together
    if together:
        assert groups == [
            {"b.mp3": "longer by 1.9 s", "a.mp3": "cosine 0.9950, lengths 101.9 and 100.0 s"}
        ]


def test_the_length_of_what_was_heard_to_120_s_is_asked_of_the_file(shelf: Shelf) -> None:
    shelf.add("a.mp3", direction(1), heard=120, length=300)
    shelf.add("b.mp3", at(0.999, direction(1)), heard=120, length=301)
    shelf.add("c.mp3", at(0.999, direction(1)), heard=120, length=330)
    shelf.add("d.mp3", at(0.999, direction(1)), heard=120, length=None)
    shelf.add("e.mp3", at(0.999, direction(1)), heard=120, length=30)  # which cannot be
    assert [set(group) for group in shelf.groups()] == [{"a.mp3", "b.mp3"}]


def test_a_chain_does_not_make_its_ends_one_song(shelf: Shelf) -> None:
    """A is like B and B like C, but A is not like C."""
    middle = direction(1)
    shelf.add("a.mp3", at(0.992, middle), size=30)
    shelf.add("b.mp3", middle, size=20)
    shelf.add("c.mp3", at(0.992, middle, 8), size=10)
    (group,) = shelf.groups()
    assert list(group) == ["a.mp3", "b.mp3"]


def test_each_is_held_against_the_one_that_is_kept(shelf: Shelf) -> None:
    middle = direction(1)
    shelf.add("best.flac", middle)
    shelf.add("a.mp3", at(0.992, middle))
    shelf.add("c.mp3", at(0.992, middle, 8))  # not like a.mp3, but like the kept one
    (group,) = shelf.groups()
    assert list(group) == ["best.flac", "a.mp3", "c.mp3"]


@pytest.mark.parametrize(
    ("better", "worse", "why"),
    [
        ({"name": "z.flac"}, {"name": "a.mp3", "heard": 101.5}, "lossless"),
        ({"name": "z.mp3", "heard": 101.0}, {"rates": (48_000, 320_000)}, "longer by 1.0 s"),
        ({"name": "z.mp3", "rates": (44_100, 320_000)}, {"heard": 100.4}, "higher rate"),
        ({"name": "z.wav", "rates": (96_000, 1)}, {"name": "a.wav"}, "higher rate"),
        ({"name": "z.mp3", "size": 11}, {}, "larger"),
        ({"name": "0.mp3"}, {}, "alike in all: any will do"),
        (
            {"name": "z.flac", "heard": 101.0},
            {"rates": (48_000, 320_000)},
            "lossless, longer by 1.0 s",
        ),
    ],
)
def test_lossless_is_kept_then_the_longer_then_the_higher_rate(
    shelf: Shelf, better: dict[str, object], worse: dict[str, object], why: str
) -> None:
    for given in (worse, better):
        options = {"name": "a.mp3", **given}
        shelf.add(str(options.pop("name")), direction(1), **options)  # type: ignore[arg-type]
    (group,) = shelf.groups()
    assert next(iter(group.items())) == (better["name"], why)


def test_what_the_others_take_is_told_and_the_most_comes_first(shelf: Shelf) -> None:
    for name, seed, size in [("a", 1, 10), ("b", 1, 20), ("c", 2, 300), ("d", 2, 200), ("e", 2, 1)]:
        shelf.add(f"{name}.mp3", direction(seed), size=size)
    rows = [row for row in shelf.rows() if row.proposal == "keep"]
    assert [(row.group, Path(row.path).name, row.spare_bytes) for row in rows] == [
        (1, "c.mp3", 201),
        (2, "b.mp3", 10),
    ]


def test_a_link_takes_no_room_and_its_file_is_kept(shelf: Shelf) -> None:
    shelf.add("z.mp3", direction(1), heard=None)
    shelf.add("a.mp3", direction(1), heard=None)
    (shelf.folder / "a.mp3").unlink()
    (shelf.folder / "a.mp3").symlink_to("z.mp3")
    (group,) = shelf.groups()
    assert list(group) == ["z.mp3", "a.mp3"]
    assert "takes no room" in group["a.mp3"]
    assert shelf.rows()[0].spare_bytes == 0


def test_a_track_without_a_file_is_no_duplicate(shelf: Shelf) -> None:
    for name in ("a.mp3", "b.mp3", "c.mp3", "d.mp3"):
        shelf.add(name, direction(1), sound="s")
    shelf.files[-1] = None
    (shelf.folder / "c.mp3").unlink()
    (shelf.folder / "b.mp3").unlink()
    os.mkfifo(shelf.folder / "b.mp3")
    assert shelf.groups() == []


def test_a_model_that_tells_nothing_apart_makes_no_songs_one(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(12):
        shelf.add(f"like {n}.mp3", at(0.9999, direction(1), n))
    shelf.add("twin.mp3", direction(3), sound="s")
    shelf.add("twin 2.mp3", direction(3), sound="s")
    assert [set(group) for group in shelf.groups()] == [{"twin.mp3", "twin 2.mp3"}]
    assert "does not tell tracks apart" in caplog.text


def test_the_table_is_read_as_it_was_written(shelf: Shelf, tmp_path: Path) -> None:
    shelf.add(os.fsdecode(b"caf\xe9\t.mp3"), direction(1), sound="s")
    shelf.add("b.mp3", direction(1), sound="s")
    results = Results(tmp_path / "results")
    write_duplicates(results, shelf.rows())
    assert read_duplicates(results) == shelf.rows()


@pytest.mark.parametrize(
    ("name", "lossless"), [("a.flac", True), ("a.wav", True), ("a.aiff", True), ("a.ogg", False)]
)
def test_what_a_file_says_of_itself(tmp_path: Path, name: str, lossless: bool) -> None:
    path = write_audio(tmp_path / name, music(1.5, 22_050), 22_050)
    facts = read_facts(str(path))
    assert facts.lossless is lossless
    assert facts.sample_rate == 22_050
    assert facts.length_s == pytest.approx(1.5, abs=0.05)
    path.write_bytes(b"nothing")
    assert read_facts(str(path)) == FileFacts()
