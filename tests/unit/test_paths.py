"""Identity of tracks, and the laws that spellings of one path obey."""

from __future__ import annotations

import hashlib
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mert_backfill.library.paths import (
    PathMap,
    PathStyle,
    fold_case,
    is_windows,
    track_id,
    why_no_path,
    with_own_letters,
    with_slashes,
)

LOCAL = "/mnt/c/Users/me/Music"
WINDOWS = PathMap([("C:/Users/me/Music", LOCAL)])
STYLES = [PathStyle(windows=True), PathStyle(windows=True, backslash=True), PathStyle()]

# letters whose cases map one to one, composed and decomposed accents, and other scripts
names = st.text("abcXYZ 0129_-#'()[]éÉñÅåøØ" + "e\u0301" + "жЖσςΣ" + "日本🎵", min_size=1).filter(
    lambda name: name.strip(" .") == name
)

# the same examples every time, and no clock: the machine may be busy
LAW = settings(derandomize=True, deadline=None)
relative_paths = st.lists(names, min_size=1, max_size=4).map("/".join)


def test_track_id_is_the_documented_hash() -> None:
    digest = hashlib.sha256("main/Zoë/01 - Intro.mp3".encode()).hexdigest()
    assert track_id("main", "Zoë/01 - Intro.mp3") == digest[:20]
    assert track_id("main", unicodedata.normalize("NFD", "Zoë/01 - Intro.mp3")) == digest[:20]


def test_track_id_keeps_bytes_that_are_not_utf8() -> None:
    raw = b"main/Beyonc\xe9.mp3"
    relative = raw.decode("utf-8", "surrogateescape").removeprefix("main/")
    assert track_id("main", relative) == hashlib.sha256(raw).hexdigest()[:20]


@LAW
@given(st.lists(relative_paths, unique_by=lambda path: unicodedata.normalize("NFC", path)))
def test_track_ids_of_different_files_differ(paths: list[str]) -> None:
    assert len({track_id("main", path) for path in paths}) == len(paths)


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        (r"C:\Users\me\a.mp3", "C:/Users/me/a.mp3"),
        ("C:/Users//me/./a.mp3", "C:/Users/me/a.mp3"),
        ("C:\\", "C:"),
        (r"\\nas\music\a.mp3", "//nas/music/a.mp3"),
        (r"\\?\C:\a.mp3", "C:/a.mp3"),
        (r"\\?\UNC\nas\music\a.mp3", "//nas/music/a.mp3"),
        ("/music/x/../a.mp3", "/music/a.mp3"),
        ("/music/", "/music"),
        ("///music/a.mp3", "/music/a.mp3"),
        ("e\u0301.mp3", "\u00e9.mp3"),
        ("", ""),
    ],
)
def test_with_slashes(spelling: str, expected: str) -> None:
    assert with_slashes(spelling) == expected


@LAW
@given(st.text("aé/\\:. e\u0301\udce9"))
def test_with_slashes_is_idempotent(spelling: str) -> None:
    assert with_slashes(with_slashes(spelling)) == with_slashes(spelling)


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("C:/a", True),
        ("c:", True),
        ("//nas/a", True),
        ("/mnt/c", False),
        ("C:a", False),
        ("", False),
    ],
)
def test_is_windows(spelling: str, expected: bool) -> None:
    assert is_windows(spelling) is expected


def test_fold_case_keeps_apart_what_windows_keeps_apart() -> None:
    assert fold_case("ΟΔΟΣ") == fold_case("οδος") == fold_case("οδοσ")
    assert fold_case("J\u030c") == fold_case("\u01f0")  # only one of the two cases is composed
    assert fold_case("Straße") != fold_case("Strasse")


@LAW
@given(relative_paths, st.sampled_from(STYLES))
def test_a_path_in_the_style_of_the_baseline_names_the_same_file(
    relative: str, style: PathStyle
) -> None:
    local = f"{LOCAL}/{relative}"
    spelled = WINDOWS.to_baseline(local, style)
    assert is_windows(with_slashes(spelled)) is style.windows
    assert WINDOWS.key(spelled) == WINDOWS.key_of_local(local)
    assert with_slashes(WINDOWS.to_local(spelled)) == with_slashes(local)


@LAW
@given(relative_paths)
def test_keys_ignore_case_slashes_and_normalisation_below_a_windows_prefix(relative: str) -> None:
    spelled = f"C:/Users/me/Music/{relative}"
    key = WINDOWS.key(spelled)
    for other in (
        spelled.replace("/", "\\"),
        "c:/USERS/ME/music/" + relative.swapcase(),
        unicodedata.normalize("NFD", spelled),
        f"{LOCAL}/{relative}",
    ):
        assert WINDOWS.key(other) == key


@LAW
@given(relative_paths, relative_paths)
def test_keys_of_different_files_differ_outside_windows(one: str, other: str) -> None:
    same_name = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    path_map = PathMap()
    assert (path_map.key(f"/music/{one}") == path_map.key(f"/music/{other}")) is same_name


def test_an_unmapped_windows_path_is_compared_without_case() -> None:
    assert PathMap().key("D:\\Jazz\\A.mp3") == PathMap().key("d:/jazz/a.MP3")


def test_a_prefix_ends_at_a_folder() -> None:
    path_map = PathMap([("C:/Music", "/music")])
    assert path_map.to_local("C:/Music2/a.mp3") == "C:/Music2/a.mp3"
    assert path_map.to_baseline("/music2/a.mp3", STYLES[0]) == "/music2/a.mp3"


def test_the_longest_prefix_counts() -> None:
    path_map = PathMap([("C:/", "/mnt/c"), ("C:/Music", "/music")])
    assert path_map.to_local(r"C:\Music\a.mp3") == "/music/a.mp3"
    assert path_map.to_local(r"C:\Other\a.mp3") == "/mnt/c/Other/a.mp3"


def test_two_prefixes_may_mean_the_same_folder() -> None:
    path_map = PathMap([("C:/Music", "/music"), ("//nas/Music", "/music")])
    key = path_map.key_of_local("/music/a.mp3")
    assert path_map.key("C:/Music/a.mp3") == path_map.key(r"\\NAS\music\A.mp3") == key


def test_a_drive_mounted_inside_another_keeps_its_own_spelling() -> None:
    path_map = PathMap([("C:/Users/me/Music", "/music"), ("D:/", "/music/jazz")])
    assert path_map.to_baseline("/music/jazz/a.mp3", STYLES[0]) == "D:/a.mp3"
    assert path_map.key("d:/A.mp3") == path_map.key_of_local("/music/jazz/a.mp3")


def test_a_baseline_of_another_unix_machine() -> None:
    path_map = PathMap([("/Volumes/Music", "/music")])
    assert path_map.key("/Volumes/Music/a.mp3") == path_map.key_of_local("/music/a.mp3")
    assert path_map.key("/Volumes/Music/A.mp3") != path_map.key_of_local("/music/a.mp3")
    assert path_map.to_baseline("/music/a.mp3", PathStyle()) == "/Volumes/Music/a.mp3"


def test_style_is_that_of_most_paths() -> None:
    assert PathStyle.of([r"C:\a", "C:/b", r"C:\c", "/d"]) == PathStyle(True, True)
    assert PathStyle.of(["C:/a", "bare.mp3"]) == PathStyle(True, False)
    assert PathStyle.of(["/a", "/b", r"C:\c"]) == PathStyle(False, True)
    assert PathStyle.of([]) == PathStyle(False, False)


FORBIDDEN = ':?"<>|*'


@pytest.mark.parametrize("letter", FORBIDDEN)
def test_letters_that_windows_stores_in_place_of_others_are_the_same_name(letter: str) -> None:
    stored, name = f"a{chr(0xF000 + ord(letter))}b.mp3", f"a{letter}b.mp3"
    spelled = f"C:/Users/me/Music/{stored}"
    assert WINDOWS.key(spelled) == WINDOWS.key_of_local(f"{LOCAL}/{name}")
    assert PathMap().key(f"D:/{stored}") == PathMap().key(f"d:/{name.upper()}")
    assert PathMap().key(f"/m/{name}") == PathMap().key_of_local(f"/m/{stored}")
    assert track_id("main", stored) != track_id("main", name)
    assert WINDOWS.to_local(spelled) == f"{LOCAL}/{stored}"  # for that is the file


def test_letters_that_macs_store_in_place_of_others_are_the_same_name() -> None:
    stored = "".join(chr(code) for code in range(0xF020, 0xF02A) if code != 0xF026)
    assert with_own_letters(f"\uf001{stored}") == '\x01"*"<>?| .'
    for letter in "\uf000\uf05c\uf026\uf030\uf061\uf080\ue001":  # of fonts, and of \\
        assert with_own_letters(letter) == letter


def test_what_is_no_path() -> None:
    assert why_no_path("\u0101" * 32_767) is None
    assert "32,768 characters" in str(why_no_path("a" * 32_768))
    assert why_no_path("a" + "\u0301" * 30 + "b" * 255) is None
    assert "over 30 accents" in str(why_no_path("a" + "\u0301" * 31 + "b" * 255))
