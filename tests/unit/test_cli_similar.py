"""``mert-backfill similar`` and ``path``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from mert_backfill.errors import UserError
from mert_backfill.records.atlas import read_neighbors
from mert_backfill.results import Results
from mert_backfill_snakemake.cli import app
from support.atlases import a_track, write_atlas

HOSTILE = "[red]x[/] \x1b[2J"
NOTE = "Made with a demo model."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("similar")
    tracks = [
        a_track(f"/music/{n}.mp3", "Band", f"Song {n}", key=f"C:\\Music\\{n}.mp3")
        for n in range(60)
    ]
    tracks[1] = a_track("/music/a/hostile.mp3", HOSTILE, "two\nlines", key="C:\\Music\\h.mp3")
    tracks[2] = a_track("/music/x\ny.mp3", "Band", "Broken", key="C:\\Music\\x\ny.mp3")
    vectors = np.random.default_rng(0).normal(2, 1, (60, 8)).astype(np.float32)
    vectors[1], vectors[2] = vectors[0] + 0.01, vectors[0] + 0.02
    write_atlas(Results(folder / "results"), tracks, vectors, note=NOTE)
    return folder


def ask(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--directory", str(folder)])


def test_the_nearest_are_listed(folder: Path) -> None:
    result = ask(folder, "similar", "song 0")
    assert result.exit_code == 0
    assert result.output.startswith("Sounds like Band - Song 0")
    rows = re.findall(r"^ +(\d+) +(-?\d\.\d{3}) ", result.output, re.MULTILINE)
    assert [int(rank) for rank, _ in rows] == list(range(1, 21))
    assert f"{NOTE} What is near here need not sound alike." in result.output
    assert "\x1b[2J" not in result.output
    assert "[red]x[/]" in result.output


def test_json_holds_what_the_table_of_neighbours_says(folder: Path) -> None:
    found = json.loads(ask(folder, "similar", "/music/0.mp3", "--json", "-n", "7").output)
    assert found["note"] == NOTE
    assert found["track"]["title"] == "Song 0"
    rows = read_neighbors(Results(folder / "results"), found["track"]["track_id"])[:7]
    assert [one["track_id"] for one in found["similar"]] == [other for _, other, _ in rows]
    assert [one["cosine"] for one in found["similar"]] == pytest.approx([c for *_, c in rows])
    assert [one["rank"] for one in found["similar"]] == list(range(1, 8))
    assert found["similar"][0]["artist"] == HOSTILE


def test_where_several_fit_they_are_listed_and_the_exit_code_is_two(folder: Path) -> None:
    result = ask(folder, "similar", "song", "--json")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "58 tracks fit 'song'; be more exact" in result.stderr
    assert "and 38 more" in result.stderr


@pytest.mark.parametrize(
    ("options", "first"), [((), "C:\\Music\\h.mp3"), (("--paths", "here"), "/music/a/hostile.mp3")]
)
def test_a_playlist_is_written_as_the_program_of_meta_json_writes_paths(
    folder: Path, tmp_path: Path, options: tuple[str, ...], first: str
) -> None:
    file = tmp_path / "like.m3u8"
    result = ask(folder, "similar", "song 0", "--m3u", str(file), "-n", "3", *options)
    lines = file.read_text(encoding="utf-8").splitlines()
    assert (lines[0], lines[2], len(lines)) == ("#EXTM3U", first, 5)
    assert "not in the playlist" in result.stderr
    assert "x\\ny.mp3" in result.stderr


def test_what_fits_to_a_playlist(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "crate.m3u"
    file.write_text("C:\\music\\0.MP3\n/music/5.mp3\n/elsewhere/nothing.mp3\n", encoding="utf-8")
    result = ask(folder, "similar", "--from", str(file), "--json", "-n", "4")
    found = json.loads(result.stdout)
    assert [one["title"] for one in found["tracks"]] == ["Song 0", "Song 5"]
    assert len(found["similar"]) == 4
    assert "1 entry of" in result.stderr
    assert not {"Song 0", "Song 5"} & {one["title"] for one in found["similar"]}
    file.write_text("/elsewhere/nothing.mp3\n", encoding="utf-8")
    with pytest.raises(UserError, match="none of its tracks is in the atlas"):
        raise ask(folder, "similar", "--from", str(file)).exception or AssertionError


def test_a_way_begins_and_ends_where_it_is_told(folder: Path) -> None:
    result = ask(folder, "path", "song 0", "song 9", "--n", "6", "--json")
    found = json.loads(result.output)
    titles = [one["title"] for one in found["path"]]
    assert (titles[0], titles[-1], len(titles)) == ("Song 0", "Song 9", 6)
    assert found["path"][0]["cosine"] is None
    assert "From Band - Song 0 to Band - Song 9" in ask(folder, "path", "song 0", "song 9").output
    with pytest.raises(UserError, match="are one track"):
        raise ask(folder, "path", "song 0", "/music/0.mp3").exception or AssertionError


def test_an_atlas_that_is_older_than_meta_json_is_told(folder: Path) -> None:
    meta = Results(folder / "results").meta
    assert "older" not in ask(folder, "similar", "song 0").stderr
    meta.touch()
    result = ask(folder, "similar", "song 0")
    meta.unlink()
    assert "the atlas is older than meta.json; `snakemake --cores 2" in result.stderr


@pytest.mark.parametrize("arguments", [["similar"], ["similar", "a", "--from", "b.m3u"]])
def test_a_track_or_a_playlist_is_asked_for(folder: Path, arguments: list[str]) -> None:
    result = ask(folder, *arguments)
    assert result.exit_code == 2
    assert "give a track, or --from PLAYLIST" in result.output


def test_without_an_atlas_one_line_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run `snakemake --cores 2 --directory \S+ atlas`"):
        raise ask(tmp_path, "similar", "x").exception or AssertionError
    (tmp_path / "my-library.yaml").touch()
    with pytest.raises(UserError, match=r"run `mert-backfill atlas --directory \S+`"):
        raise ask(tmp_path, "similar", "x").exception or AssertionError


def test_it_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys; from mert_backfill_snakemake.cli import app\n"
        f"try: app(['similar', 'song 0', '--directory', {str(folder)!r}])\n"
        "finally: print({'snakemake', 'torch', 'soundfile', 'av', 'umap'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")
