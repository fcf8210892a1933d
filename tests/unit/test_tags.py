import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import mutagen
import numpy as np
import pytest
import soundfile
from mutagen.aiff import AIFF
from mutagen.flac import FLAC
from mutagen.id3 import TIT2, TPE1
from mutagen.wave import WAVE

from mert_backfill.audio import tags as module
from mert_backfill.audio.tags import read_tags
from mert_backfill.tags import Tags, tags_from_name
from support.audio_files import id3_bomb


def tone(path: Path) -> Path:
    soundfile.write(path, np.zeros(800), 8000)
    return path


def tagged_flac(path: Path, **tags: str) -> Path:
    file = FLAC(tone(path))
    file.update(tags)
    file.save()
    return path


def test_reads_vorbis_comments(tmp_path: Path) -> None:
    path = tagged_flac(tmp_path / "x.flac", artist="Björk", title=" Jóga ")
    assert read_tags(str(path)) == Tags("Björk", "Jóga")


@pytest.mark.parametrize(("name", "kind"), [("x.wav", WAVE), ("x.aiff", AIFF)])
def test_reads_id3_chunks(tmp_path: Path, name: str, kind: type) -> None:
    path = tone(tmp_path / name)
    file = kind(path)
    file.add_tags()
    file.tags.add(TPE1(text="A"))
    file.tags.add(TIT2(text="T"))
    file.save()
    assert read_tags(str(path)) == Tags("A", "T")


def tone_m4a(path: Path) -> Path:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return path


@pytest.mark.parametrize("ending", ["mp3", "ogg", "m4a"])
def test_reads_easy_tags(tmp_path: Path, ending: str) -> None:
    path = (tone_m4a if ending == "m4a" else tone)(tmp_path / f"x.{ending}")
    file: Any = mutagen.File(path, easy=True)
    if file.tags is None:
        file.add_tags()
    file["artist"], file["title"] = "A", "T"
    file.save()
    assert read_tags(str(path)) == Tags("A", "T")


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = tagged_flac(tmp_path / "x.flac", artist="A", title="T")
    renamed = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.flac")
    os.rename(path, renamed)
    assert read_tags(renamed) == Tags("A", "T")


def test_empty_and_endless_values(tmp_path: Path) -> None:
    path = tagged_flac(tmp_path / "x.flac", artist="   ", title="x" * 5000)
    assert read_tags(str(path)) == Tags(None, "x" * 1000)


def test_untagged_damaged_missing_and_pipe_have_none(tmp_path: Path) -> None:
    (tmp_path / "bad.mp3").write_bytes(b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + b"\xff" * 50)
    (tmp_path / "bad.m4a").write_bytes(b"\xff\xff\xff\xffftypM4A " + b"\x00" * 50)
    os.mkfifo(tmp_path / "pipe.mp3")  # opening one without a writer would block
    names = ["bad.mp3", "bad.m4a", "pipe.mp3", "absent.mp3", "."]
    assert [read_tags(str(tmp_path / name)) for name in names] == [Tags()] * len(names)
    assert read_tags(str(tone(tmp_path / "plain.wav"))) == Tags()


UNPACK = """
import resource, sys
from mert_backfill.audio.tags import read_tags
before = resource.getrlimit(resource.RLIMIT_AS)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(read_tags(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak)
print(resource.getrlimit(resource.RLIMIT_AS) == before)
"""


def test_a_tag_that_unpacks_to_gigabytes_counts_as_none(tmp_path: Path) -> None:
    """In a process of its own: what others freed in this one is not counted as grown."""
    path = tmp_path / "a.mp3"
    path.write_bytes(id3_bomb(1 << 30) + b"\xff\xfb\x90\0" + bytes(9999))
    done = subprocess.run(
        [sys.executable, "-c", UNPACK, path], capture_output=True, text=True, check=True
    )
    found, grown_kib, same = done.stdout.splitlines()
    assert found == str(Tags())
    assert int(grown_kib) << 10 <= module.MEMORY_LIMIT_BYTES
    assert same == "True"


def test_a_tag_that_takes_for_ever_counts_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never_done(*arguments: Any, **options: Any) -> None:
        for _ in range(2):  # goes on although it was told to stop
            try:
                while True:
                    pass
            except TimeoutError:
                continue

    monkeypatch.setattr(mutagen, "File", never_done)
    monkeypatch.setattr(module, "TIME_LIMIT_S", 0.1)
    before = signal.getsignal(signal.SIGALRM)
    assert read_tags(str(tone(tmp_path / "a.wav"))) == Tags()
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_tags_within_limits_are_read(tmp_path: Path) -> None:
    path = tagged_flac(tmp_path / "x.flac", artist="A", title="T")
    assert read_tags(str(path)) == Tags("A", "T")


@pytest.mark.parametrize(
    ("name", "artist", "title"),
    [
        ("Artist - Title.mp3", "Artist", "Title"),
        ("/music/A - B/C - D - E.flac", "C", "D - E"),
        ("01 - Intro.mp3", None, "Intro"),
        ("01 - Artist - Title.mp3", "Artist", "Title"),
        ("07. Artist - Title.mp3", "Artist", "Title"),
        ("50 Cent - In da Club.mp3", "50 Cent", "In da Club"),
        ("311 - Amber.mp3", "311", "Amber"),
        ("Nothing here.wav", None, "Nothing here"),
        ("half -hearted.wav", None, "half -hearted"),
        (" - .wav", None, "-"),
        ("a.b.c.wav", None, "a.b.c"),
        ("07. .wav", None, "07."),
    ],
)
def test_tags_from_name(name: str, artist: str | None, title: str) -> None:
    assert tags_from_name(name) == Tags(artist, title)
