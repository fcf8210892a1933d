"""The demo library holds what its table says."""

from __future__ import annotations

import json
import re
import sys
import types
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import av
import mutagen
import numpy as np
import pytest
import soundfile
from av.error import FFmpegError

from mert_backfill.demo import library as demo_library
from mert_backfill.demo.library import TRACKS, make_demo
from mert_backfill.errors import UserError
from mert_backfill.library.paths import PathMap
from mert_backfill.store.vectors import VectorState, vector_state

DIMENSION = 16


@pytest.fixture(scope="module")
def stand_in_model() -> Iterator[None]:
    """The model is tested elsewhere; here only the dimension in its config counts."""

    def make_demo_model(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"hidden_size": DIMENSION}))

    def make_vectors(folder: Path, paths: list[Path]) -> list[np.ndarray]:
        assert all(path.stat().st_size > 0 for path in paths)
        return [np.ones(DIMENSION, np.float16)] * len(paths)

    module = types.ModuleType("mert_backfill.demo.model")
    vars(module)["make_demo_model"] = make_demo_model
    vars(module)["make_vectors"] = make_vectors
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "mert_backfill.demo.model", module)
        yield


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, stand_in_model: None) -> Path:
    folder = tmp_path_factory.mktemp("demo library")
    assert make_demo(folder)
    return folder


@pytest.fixture
def small_demo(monkeypatch: pytest.MonkeyPatch, stand_in_model: None) -> None:
    kept = [track for track in TRACKS if track.seconds <= 6]
    monkeypatch.setattr(demo_library, "TRACKS", tuple(kept))


def music_files(demo: Path) -> list[Path]:
    return sorted(path for path in (demo / "music").rglob("*") if path.is_file())


def samples(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float32", always_2d=True)[0]


def test_24_files_in_3_folders_in_every_format(demo: Path) -> None:
    files = music_files(demo)
    assert len(files) == 24
    assert Counter(path.parent.name for path in files) == {
        "House": 8,
        "Ambient": 8,
        "Sketches": 8,
    }
    assert Counter(path.suffix.lower() for path in files) == {
        ".wav": 5,
        ".flac": 3,
        ".mp3": 7,
        ".ogg": 3,
        ".opus": 2,
        ".m4a": 2,
        ".aiff": 2,
    }
    assert sum(path.stat().st_size for path in files) < 60e6


def test_docstring_table_is_the_library() -> None:
    """What a reader counts by hand is what is made."""
    row_words = {"none": "none", "embedded": "embedded", "no_ref": "no ref", "vector_gone": "ref"}
    lines = re.findall(r"^ ?\d+  (.+?) {2,}(\d+|-) +(.+)$", demo_library.__doc__ or "", re.M)
    expected = [(t.path, f"{t.seconds}" if t.seconds else "-", row_words[t.row]) for t in TRACKS]
    assert [(p, s, re.split("[;,]", remark)[0]) for p, s, remark in lines] == expected


def test_lengths_are_those_of_the_table(demo: Path) -> None:
    for track in TRACKS:
        path = demo / "music" / track.path
        if track.corrupt:
            continue
        if path.suffix == ".m4a":
            with av.open(str(path)) as container:
                rate = container.streams.audio[0].rate
                seconds = sum(frame.samples for frame in container.decode(audio=0)) / rate
        else:
            info = soundfile.info(path)
            seconds, rate = info.frames / info.samplerate, info.samplerate
            assert info.channels == track.channels
        assert rate == track.rate
        assert seconds == pytest.approx(track.seconds, abs=0.1)


def test_each_window_rule_occurs() -> None:
    kept = [min(track.seconds, 120) for track in TRACKS]
    assert any(seconds < 80 for seconds in kept)
    assert any(80 <= seconds < 120 for seconds in kept)
    assert sum(track.seconds > 120 for track in TRACKS) == 2
    assert any(track.seconds >= 80 and track.silence_s > 0 for track in TRACKS)


def test_the_odd_files_are_odd(demo: Path) -> None:
    music = demo / "music"
    assert not samples(music / "Ambient/Ida Holm - Silence.wav").any()
    with pytest.raises(soundfile.LibsndfileError):
        samples(music / "Sketches/Broken Take.mp3")
    with (
        pytest.raises(FFmpegError),
        av.open(str(music / "Sketches/Broken Take.mp3")) as container,
    ):
        next(container.decode(audio=0))
    loop = (music / "Sketches/Alva Nord - Loop.mp3").read_bytes()
    assert loop == (music / "Sketches/Copy of Alva Nord - Loop.mp3").read_bytes()
    intros = [music / folder / "01 - Intro.mp3" for folder in ("House", "Ambient")]
    assert intros[0].read_bytes() != intros[1].read_bytes()


def test_silence_comes_first_where_the_table_says(demo: Path) -> None:
    y = samples(demo / "music/Ambient/Ida Holm - Still Water.wav")[:, 0]
    first = int(np.argmax(np.abs(y) > 1e-4))
    assert first / 22050 == pytest.approx(4, abs=0.01)


def test_music_is_loud_but_not_clipped(demo: Path) -> None:
    for path in music_files(demo):
        if path.suffix in (".wav", ".flac", ".aiff") and "Silence" not in path.name:
            assert 0.2 < np.abs(samples(path)).max() < 1


def test_tags_are_readable(demo: Path) -> None:
    for track in TRACKS:
        if track.tags is not None:
            tags = mutagen.File(demo / "music" / track.path, easy=True)
            assert tags is not None
            assert (tags["artist"], tags["title"]) == ([track.tags[0]], [track.tags[1]])


def test_baseline_counts_by_hand(demo: Path) -> None:
    meta = json.loads((demo / "meta.json").read_text(encoding="utf-8"))
    rows = meta["tracks"]
    path_map = PathMap([("C:/Users/dj/Music", str(demo / "music"))])
    files = {path_map.key_of_local(str(path)): path for path in music_files(demo)}
    keys = [path_map.key(key) for key in rows]
    base = demo  # meta.embedding_base of config/demo.yaml
    states = Counter(
        vector_state(base / row["embedding"].replace("\\", "/"), DIMENSION)
        if "embedding" in row
        else None
        for row in rows.values()
    )
    assert len(rows) == 13
    assert states == {VectorState.VALID: 7, None: 5, VectorState.MISSING: 1}
    assert len(keys) - len(set(keys)) == 1  # the duplicate key
    assert sum(key not in files for key in keys) == 2  # stale
    assert len(set(files) - set(keys)) == 14  # no row


def test_a_complete_demo_is_left_alone(demo: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("*")}
    assert not make_demo(demo)
    assert {path: path.stat().st_mtime_ns for path in demo.rglob("*")} == before


@pytest.mark.usefixtures("small_demo")
def test_a_killed_one_is_made_again(tmp_path: Path) -> None:
    make_demo(tmp_path)
    victim = tmp_path / "music/Sketches/Tape 1.WAV"
    whole = victim.read_bytes()
    (tmp_path / ".complete").unlink()  # written last
    victim.write_bytes(whole[:100])
    assert make_demo(tmp_path)
    assert victim.read_bytes() == whole
    victim.unlink()
    assert make_demo(tmp_path)
    assert victim.read_bytes() == whole


@pytest.mark.usefixtures("small_demo")
def test_the_same_samples_every_time(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        make_demo(tmp_path / folder)
    compared = 0
    for path in music_files(tmp_path / "one"):
        twin = tmp_path / "two" / path.relative_to(tmp_path / "one")
        if path.name != "Broken Take.mp3":
            np.testing.assert_array_equal(samples(path), samples(twin))
            compared += 1
    assert compared == 4
    metas = [(tmp_path / folder / "meta.json").read_bytes() for folder in ("one", "two")]
    assert metas[0] == metas[1]


def test_a_place_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        make_demo(tmp_path / "file" / "demo")
    assert demo_library.main([str(tmp_path / "file" / "demo")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
