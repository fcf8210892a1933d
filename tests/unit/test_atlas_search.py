"""Which track a text means, what is near to it, and the way to another."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mert_backfill.atlas.neighbors import find_neighbors, take_mean
from mert_backfill.atlas.playlist import read_playlist, write_playlist
from mert_backfill.atlas.search import Atlas, Finder
from mert_backfill.atlas.way import find_way, other_copies
from mert_backfill.errors import UserError
from mert_backfill.records.atlas import About, read_steps, write_library
from mert_backfill.results import Results
from support.atlases import a_track, write_atlas

LATIN1 = os.fsdecode(b"/music/caf\xe9.mp3")
TRACKS = [
    a_track("/music/House/Night Bus.aiff", "Alva Nord", "Night Bus"),
    a_track("/music/House/01 - Intro.mp3", "Tessel", "Intro"),
    a_track("/music/Ambient/01 - Intro.mp3", "Ida Holm", "Intro"),
    a_track("/music/Ambient/a.flac", "Zoë Lumière", "Café à Minuit (feat. Bo & Al)"),
    a_track("/music/b.mp3", "Mirel Kade", "Night", key="C:\\Users\\me\\Music\\B.mp3"),
    a_track("/music/x.mp3", None, "Alva", key="C:\\Users\\me\\Music\\\uf03fwhat\uf022.mp3"),
    a_track(LATIN1),
]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/music/House/Night Bus.aiff", [0]),
        ("/MUSIC/house//./night bus.AIFF", [0]),
        ("\\music\\House\\Night Bus.aiff", [0]),
        ("c:/users/me/music/b.mp3", [4]),
        ('C:\\Users\\me\\Music\\?what".mp3', [5]),
        (LATIN1, [6]),
        ("House/01 - Intro.mp3", [1]),
        ("01 - Intro.mp3", [1, 2]),
        (TRACKS[3].track_id, [3]),
        ("night bus", [0]),
        ("Night", [4]),  # a whole title before a part of one
        ("alva", [5]),
        ("ALVA NORD - Night Bus", [0]),
        ("Night Bus, Alva Nord", [0]),
        ("intro", [1, 2]),
        ("intro tessel", [1]),
        ("zoe cafe a minuit", [3]),
        ("café featuring bo and al", [3]),
        ("nor bu", [0]),
    ],
)
def test_a_text_means_a_track(text: str, found: list[int]) -> None:
    assert Finder(TRACKS).find(text) == found


def test_a_relative_path_starts_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracks = [a_track(f"{tmp_path}/a.mp3"), a_track("/music/a.mp3")]
    monkeypatch.chdir(tmp_path)
    assert Finder(tracks).find("a.mp3") == [0]
    assert Finder(tracks).find_path("../music/a.mp3", "/house") == [1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nigt buss", "did you mean Alva Nord - Night Bus"),
        ("qqq", "give a path, or words"),
        ("", ""),
    ],
)
def test_a_text_that_means_none_is_told_with_what_is_like_it(text: str, told: str) -> None:
    with pytest.raises(UserError, match=f"no track of the atlas fits {text!r}.*{told}"):
        Finder(TRACKS).find(text)


# --- near -----------------------------------------------------------------------------------------


def grid(count: int, dimension: int = 12) -> np.ndarray:
    return np.random.default_rng(1).normal(4, 1, (count, dimension)).astype(np.float32)


@pytest.fixture
def atlas(tmp_path: Path) -> Atlas:
    """Return an atlas of 80 files."""
    (tmp_path / "music").mkdir()
    tracks = []
    for n in range(80):
        path = tmp_path / "music" / f"{n}.mp3"
        path.touch()
        tracks.append(a_track(str(path), "A", f"T{n}"))
    results = Results(tmp_path / "results")
    write_atlas(results, tracks, grid(80), copies=[[7, 3]])
    return Atlas(results)


def test_the_nearest_are_those_of_the_table_and_more_where_it_ends(atlas: Atlas) -> None:
    some, more = atlas.nearest(5, 50), atlas.nearest(5, 60)
    assert more[:50] == some
    assert len(more) == 60
    assert len(atlas.nearest(5, 1000)) == 79
    assert [cosine for _, cosine in more] == sorted((c for _, c in more), reverse=True)


def test_a_file_that_is_gone_is_passed_over_but_not_one_that_is_elsewhere(atlas: Atlas) -> None:
    before = [place for place, _ in atlas.nearest(5, 50)]
    Path(atlas.tracks[before[0]].path).unlink()
    assert [place for place, _ in atlas.nearest(5, 20)] == before[1:21]
    assert len(atlas.nearest(5, 50)) == 50
    Path(atlas.tracks[0].path).parent.rename(atlas.results.folder / "unmounted")
    assert [place for place, _ in atlas.nearest(5, 20)] == before[:20]


def test_what_fits_to_all_is_nearest_to_their_middle(atlas: Atlas) -> None:
    found = atlas.fitting([1, 2, 3], 5)
    middle = atlas.unit[[1, 2, 3]].mean(axis=0)
    cosines = atlas.unit @ (middle / np.linalg.norm(middle))
    cosines[[1, 2, 3]] = -2
    assert [place for place, _ in found] == np.argsort(-cosines)[:5].tolist()
    assert [cosine for _, cosine in found] == pytest.approx(np.sort(-cosines)[:5] * -1, abs=1e-6)


def test_groups_of_copies_are_read_as_places(atlas: Atlas) -> None:
    assert atlas.copies == [[7, 3]]
    assert other_copies(atlas.copies, [1]) == {3}
    assert other_copies(atlas.copies, [3]) == {7}
    assert other_copies(atlas.copies, [3, 7]) == set()


# --- the way --------------------------------------------------------------------------------------


def circle(count: int) -> np.ndarray:
    """Return directions along half a circle, in order."""
    angles = np.linspace(0, np.pi, count)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def steps_of(unit: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found = find_neighbors(unit, width)
    first = np.repeat(np.arange(len(unit)), found.places.shape[1])
    return first, found.places.ravel(), found.cosines.ravel()


@pytest.mark.parametrize("count", [2, 5, 20, 21, 30])
def test_a_way_goes_along_and_has_so_many(count: int) -> None:
    unit = circle(40)
    way = find_way(unit, steps_of(unit, 4), (3, 36), count)
    assert (way[0], way[-1], len(way)) == (3, 36, count)
    assert way == sorted(way)
    assert np.diff(way).max() <= np.ceil(33 / (count - 1)) + 2


def test_a_way_passes_over_what_is_not_to_be_taken() -> None:
    unit = circle(40)
    way = find_way(unit, steps_of(unit, 4), (3, 36), 20, {3, 10, 11, 12})
    assert way[0] == 3
    assert {10, 11, 12}.isdisjoint(way)


def test_where_no_neighbours_lead_the_way_is_straight() -> None:
    unit = np.concatenate([circle(60)[:10], circle(60)[50:]])
    way = find_way(unit, steps_of(unit, 2), (0, 19), 6)
    assert (way[0], way[-1], len(way)) == (0, 19, 6)
    assert way == sorted(way)


@given(st.integers(2, 9), st.integers(2, 12), st.integers(1, 3), st.data())
def test_whatever_the_library_no_track_comes_twice(
    size: int, count: int, width: int, data: st.DataObject
) -> None:
    ends = data.draw(st.permutations(range(size)))[:2]
    unit = grid(size, 2)
    take_mean(unit)
    way = find_way(unit, steps_of(unit, width), (ends[0], ends[1]), count)
    assert [way[0], way[-1]] == ends
    assert len({*way}) == len(way) == min(size, count)
    assert way == find_way(unit, steps_of(unit, width), (ends[0], ends[1]), count)


def test_neighbours_of_another_library_are_told(atlas: Atlas) -> None:
    first, second, cosines = read_steps(atlas.results, atlas.tracks)
    assert len(first) == len(second) == len(cosines) == 80 * 50
    with pytest.raises(UserError, match="is damaged"):
        read_steps(atlas.results, atlas.tracks[1:])
    write_library(atlas.results, atlas.tracks[:40], grid(40), About("p"))
    with pytest.raises(UserError, match=r"is not of the library\.parquet beside it"):
        Atlas(atlas.results).nearest(5, 20)


# --- playlists ------------------------------------------------------------------------------------


def test_a_playlist_is_read_as_programs_write_it(tmp_path: Path) -> None:
    file = tmp_path / "a.m3u"
    file.write_bytes(
        b"\xef\xbb\xbf#EXTM3U\r\n#EXTINF:3,X\r\nHouse/a.mp3\r\n\r\n"
        b"file:///music/caf%C3%A9.mp3\n/music/caf\xe9.mp3\n"
    )
    assert read_playlist(file) == [
        ("House/a.mp3",),
        ("/music/café.mp3",),
        (LATIN1, "/music/café.mp3"),
    ]
    file.write_text("C:\\Music\\é.mp3\n", encoding="utf-16")
    assert read_playlist(file)[0][0] == "C:\\Music\\é.mp3"


@pytest.mark.parametrize("content", [None, b"", b"#EXTM3U\n"])
def test_a_playlist_without_entries_is_told(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "a.m3u8"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.m3u8"):
        read_playlist(file)


def test_a_playlist_is_written_for_here_or_there(tmp_path: Path) -> None:
    tracks = [
        TRACKS[4],
        a_track("/music/two\nlines.mp3", "A\n#EXTINF:1,B", "C"),
        a_track("/music/c.mp3", "A\n#EXTINF:1,B\r/etc", "C", key="#c.mp3"),
        TRACKS[6],
    ]
    file = tmp_path / "lists" / "a.m3u8"
    assert write_playlist(file, tracks, there=False) == [tracks[1]]
    assert file.read_bytes().split(b"\n") == [
        b"#EXTM3U",
        b"#EXTINF:62,Mirel Kade - Night",
        b"/music/b.mp3",
        b"#EXTINF:62,A #EXTINF:1,B /etc - C",
        b"/music/c.mp3",
        b"#EXTINF:62,",
        b"/music/caf\xe9.mp3",
        b"",
    ]
    write_playlist(file, tracks, there=True)
    assert file.read_bytes().split(b"\n")[2:5:2] == [b"C:\\Users\\me\\Music\\B.mp3", b"./#c.mp3"]
    assert [entry[0] for entry in read_playlist(file)][1] == "./#c.mp3"
