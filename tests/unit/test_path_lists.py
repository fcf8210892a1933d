"""Lists of paths in the spellings and encodings that users' programs write."""

from __future__ import annotations

import os
import re
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mert_backfill.errors import UserError
from mert_backfill.library.path_lists import PathList, read_path_list
from mert_backfill.library.paths import PathMap

# the same examples every time, and no clock: the machine may be busy
LAW = settings(derandomize=True, deadline=None)

LOCAL = "/mnt/c/Users/me/Music"
WINDOWS = PathMap([("C:/Users/me/Music", LOCAL)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lists")


def make(
    folder: Path, text: str | bytes, path_map: PathMap | None = None, globs: bool = False
) -> PathList:

    path = folder / "list.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
    return read_path_list(path, path_map or PathMap(), globs=globs)


def test_lines_comments_quotes_and_line_ends(folder: Path) -> None:
    text = b"\xef\xbb\xbf/m/a.mp3\r\n\r\n  # a comment\n\"/m/b b.mp3\"\n  '/m/c.mp3'  \n/m/d.mp3"
    listed = make(folder, text)
    assert len(listed) == 4
    for name in ("a", "b b", "c", "d"):
        assert listed.contains(f"/m/{name}.mp3")
    assert not listed.contains("/m/e.mp3")
    assert not listed.contains("/m")


def test_a_folder_stands_for_all_below_it(folder: Path) -> None:
    listed = make(folder, "/m/Jazz/\n")
    assert listed.contains("/m/Jazz/x/y.mp3")
    assert not listed.contains("/m/Jazz 2/y.mp3")
    assert make(folder, "/").contains("/m/a.mp3")


@pytest.mark.parametrize(
    "line",
    [
        r"C:\Users\me\Music\Zoë\A.mp3",
        "c:/users/ME/music/zoë/a.MP3",
        unicodedata.normalize("NFD", "C:/Users/me/Music/Zoë/A.mp3"),
        f"{LOCAL}/Zoë/A.mp3",
        r"C:\Users\me\Music\zoë",
        r'"C:\Users\me\Music"',
    ],
)
def test_every_spelling_that_path_map_understands(folder: Path, line: str) -> None:
    assert make(folder, line, WINDOWS).contains(f"{LOCAL}/Zoë/A.mp3")


def test_case_counts_outside_windows(folder: Path) -> None:
    assert not make(folder, "/m/A.mp3").contains("/m/a.mp3")


def test_a_local_path_counts_even_where_a_prefix_would_change_it(folder: Path) -> None:
    nested = PathMap([("/music", "/music/old")])
    assert make(folder, "/music/old/a.mp3", nested).contains("/music/old/a.mp3")
    assert make(folder, "/music/a.mp3", nested).contains("/music/old/a.mp3")


def test_relative_lines_start_at_the_folder_of_the_list(folder: Path) -> None:
    listed = make(folder, "a.mp3\nsub\\b.mp3\n../c.mp3\n./#d.mp3\n")
    for name in ("a.mp3", "sub/b.mp3", "#d.mp3"):
        assert listed.contains(f"{folder}/{name}")
    assert listed.contains(f"{folder.parent}/c.mp3")
    assert not listed.contains("/elsewhere/a.mp3")


def test_hostile_names_are_named_as_they_are(folder: Path) -> None:
    hostile = ['"quoted".mp3', " space.mp3", "{x}[1].mp3", "$(ls);`.mp3", "*.mp3", "-rf.mp3"]
    hostile += ["tab\t.mp3", "cr\rx.mp3", "\u2028.mp3", os.fsdecode(b"caf\xe9.mp3")]
    listed = make(folder, "".join(f"/m/{name}\n" for name in hostile) + " space.mp3\n")
    for name in hostile:
        assert listed.contains(f"/m/{name}")
    assert not listed.contains("/m/other.mp3")
    assert listed.contains(f"{folder}/ space.mp3")


@pytest.mark.parametrize(
    ("glob", "matched", "not_matched"),
    [
        ("*.wav", ["/m/a.wav", "/m/x/y/b.wav", "/m/x.wav/in.mp3"], ["/m/a.wave", "/m/a.mp3"]),
        ("Samples*", ["/m/Samples 1/x/a.mp3"], ["/m/My Samples/a.mp3"]),
        ("**/Samples/**", ["/m/Samples/a.mp3", "/m/x/Samples/y/b.mp3"], ["/m/Samples.mp3"]),
        ("Samples/*.wav", ["/m/Samples/a.wav"], ["/m/Samples/x/a.wav", "/m/a.wav"]),
        ("/m/*/a.mp3", ["/m/x/a.mp3"], ["/m/x/y/a.mp3", "/n/m/x/a.mp3", "/m/a.mp3"]),
        ("/m/**/a.mp3", ["/m/a.mp3", "/m/x/y/a.mp3"], ["/m/b.mp3", "/m/xa.mp3"]),
        ("0? - *", ["/m/01 - x.mp3"], ["/m/001 - x.mp3"]),
        ("[Live] *", ["/m/[Live] x.mp3"], ["/m/L x.mp3", "/m/Live x.mp3"]),
        ("{a,b}.*", ["/m/{a,b}.mp3"], ["/m/a.mp3"]),
        ("a*\u00e9", ["/m/a\nb\u00e9/x.mp3", "/m/ae\u0301"], ["/m/ae"]),
        ("*.WAV", ["/m/a.WAV"], ["/m/a.wav"]),
    ],
)
def test_globs(folder: Path, glob: str, matched: list[str], not_matched: list[str]) -> None:
    listed = make(folder, glob, globs=True)
    assert [path for path in matched if not listed.contains(path)] == []
    assert [path for path in not_matched if listed.contains(path)] == []


@LAW
@given(
    st.lists(st.sampled_from(["*", "**", "**/", "?", "/", "a", "b", "ab"]), max_size=9),
    st.lists(st.text("ab/", max_size=12), min_size=1, max_size=20),
)
def test_globs_mean_what_a_pattern_that_tries_everything_means(
    folder: Path, parts: list[str], names: list[str]
) -> None:
    glob = "/" + "".join(parts)
    listed = make(folder, glob + "*", globs=True)
    plain = PathMap().key(glob + "*")
    meanings = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    wildcards = re.compile(r"(?:(?<=/)|^)\*\*/|\*\*|\*|\?")
    pattern = wildcards.sub(lambda found: meanings[found.group()], plain)
    for name in names:
        path = PathMap().key_of_local(f"/{name}")
        expected = re.fullmatch(f"{pattern}(?:/.*)?", path) is not None
        # the line names as well the file that is really called so
        assert listed.contains(path) is (expected or path.startswith(plain)), (plain, path)


@pytest.mark.parametrize(
    "glob",
    [
        "*a" * 40 + "b",
        "**a" * 40 + "b",
        "**/a*" * 40 + "b",
        "/m/" + "*a*/**" * 40 + "b",
        "?*" * 100 + "b",
    ],
)
@pytest.mark.parametrize("name", ["a" * 4000, "a/" * 2000])
def test_no_glob_takes_long(folder: Path, glob: str, name: str) -> None:
    listed = make(folder, glob, globs=True)
    started = time.process_time()
    assert not listed.contains(f"/m/{name}")
    assert time.process_time() - started < 5  # where each star doubled it, it would never end


def test_a_line_that_is_no_path_is_refused(folder: Path) -> None:
    for line, problem in (("a" * 40_000, "40,000 characters"), ("a" + "\u0301" * 999, "accents")):
        with pytest.raises(UserError, match=rf"list\.txt: line 2 has .*{problem}.*; remove it"):
            make(folder, f"/m/a.mp3\n{line}\n")


def test_a_glob_below_a_windows_prefix_ignores_case(folder: Path) -> None:
    path = f"{LOCAL}/Demos/A.wav"
    for glob in (r"C:\Users\ME\Music\*\*.WAV", "*.WAV", r"demos\*.wav", f"{LOCAL}/demos/*"):
        assert make(folder, glob, WINDOWS, globs=True).contains(path), glob


def test_a_glob_is_anchored_at_the_list_by_a_dot(folder: Path) -> None:
    listed = make(folder, "./*.wav\n../x/*.wav", globs=True)
    assert listed.contains(f"{folder}/a.wav")
    assert listed.contains(f"{folder.parent}/x/a.wav")
    assert not listed.contains(f"{folder}/sub/a.wav")


def test_wildcards_are_letters_where_globs_are_not_allowed(folder: Path) -> None:
    listed = make(folder, "/m/*.mp3", globs=False)
    assert listed.contains("/m/*.mp3")
    assert not listed.contains("/m/a.mp3")


def test_lines_that_match_nothing(folder: Path) -> None:
    text = "/m/a.mp3\n/m/gone.mp3\n/m/sub\n*.wav\n'/m/none/'\n*.flac\n"
    listed = make(folder, text, globs=True)
    files = ["/m/a.mp3", "/m/sub/x/b.flac"]
    assert listed.unmatched(files) == ["/m/gone.mp3", "*.wav", "/m/none/"]


def test_an_empty_list_names_nothing(folder: Path) -> None:
    listed = make(folder, "\n# nothing\n")
    assert len(listed) == 0
    assert not listed.contains("/m/a.mp3")


names = st.text(
    st.characters(exclude_categories=["Cs", "Zs"], exclude_characters="\0\r\n/\\"), min_size=1
).filter(lambda name: name not in (".", ".."))


@LAW
@given(st.lists(names, min_size=1, max_size=3), st.booleans())
def test_a_listed_file_is_contained_whatever_it_is_called(
    folder: Path, parts: list[str], globs: bool
) -> None:
    path = "/music/" + "/".join(parts)
    listed = make(folder, f"{path}\n", globs=globs)
    assert listed.contains(path)
    assert listed.unmatched([path]) == []


def test_bad_lists_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.txt: there is no such list"):
        read_path_list(tmp_path / "none.txt", PathMap(), globs=False)
    with pytest.raises(UserError, match="is not a file"):
        read_path_list(tmp_path, PathMap(), globs=False)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UserError, match="is not a file"):
        read_path_list(tmp_path / "fifo", PathMap(), globs=False)
    with pytest.raises(UserError, match="save it as UTF-8"):
        make(tmp_path, "/m/a.mp3\n".encode("utf-16"))


def test_an_unreadable_list_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match=r"cannot be read.*permissions"):
        make(tmp_path, "/m/a.mp3\n")
