r"""The demo library: 24 audio files, a meta.json that knows some of them, and a demo model.

Everything is made by code from fixed seeds; nothing is downloaded. The signals are chords
and beats. The vectors that "an earlier program" left were made by the demo model, with the recipe
``canonical``, so that calibration finds that they match; they mean nothing musically.

``music/`` holds 24 files in 3 folders. The row is the one in ``meta.json``, written as a
Windows program writes it (``C:\Users\dj\Music\House\...``).

==  ================================================  =====  =====================================
 #  file                                              s      row in meta.json; remarks
==  ================================================  =====  =====================================
 1  House/Alva Nord - First Light.wav                  96    embedded; calibrated
 2  House/Mirel Kade - Long Way Down.mp3              150    none; tagged; cut to 120 s
 3  House/Tessel - Warehouse.flac                     130    none; cut to 120 s
 4  House/01 - Intro.mp3                               20    none; tagged; same name as 9
 5  House/Juno Marsh - Off Grid.ogg                    25    none
 6  House/Copenhagen Loop.opus                         30    no ref; tagged
 7  House/Rho Sigma - Slow Burn.m4a                    90    none; tagged; 3 windows
 8  House/Alva Nord - Night Bus.aiff                    8    embedded; two rows (duplicate key)
 9  Ambient/01 - Intro.mp3                             15    none; tagged; same name as 4
10  Ambient/Zoë Lumière - Café à Minuit.flac           90    embedded; key in NFD; calibrated
11  Ambient/Ida Holm - Still Water.wav                 85    none; 4 s of silence first; 3 windows
12  Ambient/Ida Holm - Tide.ogg                        80    ref, but its .npy is gone; 3 windows
13  Ambient/Ida Holm - Silence.wav                     10    no ref; digital silence
14  Ambient/Moss.opus                                  40    none; tagged; 2 s of silence first
15  Ambient/Nils Adler - Drift.m4a                    100    embedded; key in capitals; calibrated
16  Ambient/Vela - Halo.flac                           10    none; 96 kHz
17  Sketches/Tape 1.WAV                                 3    none; 8 kHz mono
18  Sketches/Tape 2.aiff                                5    none
19  Sketches/Broken Take.mp3                            -    no ref; corrupt
20  Sketches/Alva Nord - Loop.mp3                      12    none
21  Sketches/Copy of Alva Nord - Loop.mp3              12    none; the same bytes as 20
22  Sketches/Rho Sigma - Offcut.ogg                     6    embedded
23  Sketches/Six Ways.wav                               4    none; 6 channels
24  Sketches/Mirel Kade - Coda.mp3                     35    no ref; 24 kHz
==  ================================================  =====  =====================================

So 24 files: 5 already embedded and 19 pending, of which 14 have no row, 4 a row without a
ref, and 1 a ref whose file is gone. Two of the pending ones fail: 13 and 19.

``meta.json`` has 13 rows: 10 for files of the table, the second row of 8, and 2 stale ones
(``House\Sold.mp3`` with a vector, and a file on a disk ``D:`` without one). 7 rows have a
vector, 5 no ref, 1 a ref whose file is gone. Of the 5 files with a vector 3 are long enough to
tell recipes apart.

Each folder has a sound of its own (beats, chords, plucked notes with hiss), which even a random
model tells apart: on the map of the atlas they lie apart.

A finished demo run has 27 rows (14 new ones): 24 with a vector, and 3 without a ref (13, 19
and one stale row).
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import sys
import tempfile
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import soundfile

from mert_backfill.demo import MARKER
from mert_backfill.errors import UserError
from mert_backfill.system.atomic import write_atomically, write_text
from mert_backfill.system.tables import write_json

_WINDOWS_MUSIC = "C:\\Users\\dj\\Music\\"
_SOLD = "House/Sold.mp3"
_FIRST_VECTOR_S = 1_765_281_600  # 9 December 2025: of the weeks in which the recipe was in use
_WEEK_S = 7 * 86_400
_FORMATS = {  # extension: format and subtype of libsndfile, which writes no AAC
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".mp3": ("MP3", None),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".aiff": ("AIFF", "PCM_16"),
}

Row = Literal["none", "embedded", "no_ref", "vector_gone"]


@dataclass(frozen=True)
class DemoTrack:
    """One file of the demo library: lengths in seconds, `rate` in Hz.

    `tags` are artist and title written into the file; `row` is what meta.json knows of it.
    """

    path: str
    seconds: float
    row: Row = "none"
    rate: int = 44100
    channels: int = 2
    silence_s: float = 0.0
    tags: tuple[str, str] | None = None
    copy_of: str | None = None
    corrupt: bool = False


# tags of mp3 are ASCII: libsndfile writes others garbled
TRACKS = (
    DemoTrack("House/Alva Nord - First Light.wav", 96, "embedded", rate=22050, channels=1),
    DemoTrack(
        "House/Mirel Kade - Long Way Down.mp3",
        150,
        channels=1,
        tags=("Mirel Kade", "Long Way Down"),
    ),
    DemoTrack("House/Tessel - Warehouse.flac", 130, rate=22050),
    DemoTrack("House/01 - Intro.mp3", 20, tags=("Tessel", "Intro")),
    DemoTrack("House/Juno Marsh - Off Grid.ogg", 25),
    DemoTrack(
        "House/Copenhagen Loop.opus", 30, "no_ref", rate=48000, tags=("Søren Vik", "København")
    ),
    DemoTrack("House/Rho Sigma - Slow Burn.m4a", 90, tags=("Rho Sigma", "Slow Burn (Edit)")),
    DemoTrack("House/Alva Nord - Night Bus.aiff", 8, "embedded"),
    DemoTrack("Ambient/01 - Intro.mp3", 15, rate=32000, tags=("Ida Holm", "Intro")),
    DemoTrack("Ambient/Zoë Lumière - Café à Minuit.flac", 90, "embedded"),
    DemoTrack("Ambient/Ida Holm - Still Water.wav", 85, rate=22050, channels=1, silence_s=4),
    DemoTrack("Ambient/Ida Holm - Tide.ogg", 80, "vector_gone", channels=1),
    DemoTrack("Ambient/Ida Holm - Silence.wav", 10, "no_ref", silence_s=10),
    DemoTrack("Ambient/Moss.opus", 40, rate=48000, silence_s=2, tags=("Nils Adler", "Moss")),
    DemoTrack("Ambient/Nils Adler - Drift.m4a", 100, "embedded", rate=22050, channels=1),
    DemoTrack("Ambient/Vela - Halo.flac", 10, rate=96000),
    DemoTrack("Sketches/Tape 1.WAV", 3, rate=8000, channels=1),
    DemoTrack("Sketches/Tape 2.aiff", 5, rate=22050),
    DemoTrack("Sketches/Broken Take.mp3", 0, "no_ref", corrupt=True),
    DemoTrack("Sketches/Alva Nord - Loop.mp3", 12),
    DemoTrack("Sketches/Copy of Alva Nord - Loop.mp3", 12, copy_of="Sketches/Alva Nord - Loop.mp3"),
    DemoTrack("Sketches/Rho Sigma - Offcut.ogg", 6, "embedded", channels=1),
    DemoTrack("Sketches/Six Ways.wav", 4, rate=48000, channels=6),
    DemoTrack("Sketches/Mirel Kade - Coda.mp3", 35, "no_ref", rate=24000),
)


def make_demo(folder: Path | str) -> bool:
    """Make the demo library and the demo model, unless they are there.

    Parameters
    ----------
    folder : path
        Gets ``music/``, ``meta.json``, ``data/embeddings/`` and ``mert/``. Files of an
        unfinished or older demo are replaced; other files stay.

    Returns
    -------
    bool
        False when everything was there already, and nothing was written.

    Raises
    ------
    UserError
        The folder cannot be written, or the disk is full.
    """
    folder = Path(folder)
    if _is_complete(folder):
        return False
    # only here: a library that is there needs no torch
    from mert_backfill.demo.model import make_demo_model

    try:
        (folder / MARKER).unlink(missing_ok=True)
        for track in TRACKS:
            data = _file_bytes(track)
            if track.copy_of is not None:
                data = (folder / "music" / track.copy_of).read_bytes()
            _write(folder / "music" / track.path, data)
        make_demo_model(folder / "mert")
        _write_vectors(folder)
        _write_baseline(folder)
        write_text(folder / MARKER, _version())
    except OSError as error:
        raise UserError(
            f"{error.filename or folder}: the demo cannot be written ({error.strerror}); "
            "give a folder that you may write to"
        ) from error
    return True


def _is_complete(folder: Path) -> bool:
    marker = folder / MARKER
    made = [folder / "meta.json", folder / "mert" / "config.json"]
    made += [folder / "music" / track.path for track in TRACKS]
    return (
        marker.is_file()
        and marker.read_text(encoding="utf-8") == _version()
        and all(path.is_file() for path in made)
    )


def _version() -> str:
    """Return a name for what this module makes: it changes whenever the module does."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def _write(path: Path, data: bytes) -> None:
    write_atomically(path, lambda file: file.write(data))


def _seed(name: str) -> int:
    return zlib.crc32(name.encode())


def _file_bytes(track: DemoTrack) -> bytes:
    if track.copy_of is not None:
        return b""
    if track.corrupt:
        rng = np.random.default_rng(_seed(track.path))
        # below 0xE0 nothing looks like the start of an mp3 frame
        return rng.integers(0, 0xE0, 20_000, np.uint8).tobytes()
    signal = _music(track)
    if track.path.endswith(".m4a"):
        return _encode_aac(signal, track.rate, track.tags)
    extension = Path(track.path).suffix.lower()
    return _encode(signal, track.rate, track.tags, extension)


def _music(track: DemoTrack) -> np.ndarray:
    """Return the sound of the track's folder [shape=(n, channels), float32, below 1]."""
    rng = np.random.default_rng(_seed(track.path))
    seconds = np.arange(round(track.seconds * track.rate)) / track.rate
    play = {"House": _beats, "Ambient": _chords, "Sketches": _plucks}[track.path.split("/")[0]]
    signal = play(seconds, rng)
    signal *= 0.7 / np.abs(signal).max()
    signal[seconds < track.silence_s] = 0
    balance = rng.uniform(0.7, 1, track.channels)
    return (signal[:, np.newaxis] * balance).astype(np.float32)


def _beats(seconds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a kick on each beat, a hi-hat between two, and a bass."""
    beat = 60 / rng.uniform(120, 128)
    note = 55 * 2 ** (rng.integers(12) / 12)
    since_beat = seconds % beat
    since_offbeat = (seconds + beat / 2) % beat
    since_note = (seconds + beat / 4) % (beat / 2)
    kick_phase = 50 * since_beat + 6 * (1 - np.exp(-40 * since_beat))
    kick = np.exp(-14 * since_beat) * np.sin(2 * np.pi * kick_phase)
    bass = np.exp(-6 * since_note) * np.sign(np.sin(2 * np.pi * note * seconds))
    hat = np.exp(-50 * since_offbeat) * rng.uniform(-1, 1, seconds.size)
    return kick + 0.25 * bass + 0.35 * hat


def _chords(seconds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a chord whose notes swell, each a little out of tune with itself."""
    root = 220 * 2 ** (rng.integers(12) / 12)
    signal = np.zeros(seconds.size)
    for interval in (0, 7, 12, 16):
        phase = 2 * np.pi * root * 2 ** (interval / 12) * seconds
        swell = np.sin(2 * np.pi * rng.uniform(0.05, 0.12) * seconds + rng.uniform(0, 6))
        signal += (0.6 + 0.4 * swell) * (np.sin(phase) + np.sin(1.004 * phase))
    return signal


def _plucks(seconds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return plucked notes on a tape that hisses."""
    step = 30 / rng.uniform(85, 110)
    since_note = seconds % step
    notes = rng.choice([0, 3, 5, 7, 10, 12], round(seconds[-1] / step) + 1)
    pitches = 440 * 2 ** ((rng.integers(12) + notes) / 12)
    phase = 2 * np.pi * pitches[(seconds // step).astype(np.intp)] * since_note
    plucked = np.exp(-9 * since_note) * np.sin(phase + 2 * np.sin(2.01 * phase))
    return plucked + 0.35 * rng.standard_normal(seconds.size)


def _encode(signal: np.ndarray, rate: int, tags: tuple[str, str] | None, extension: str) -> bytes:
    container, subtype = _FORMATS[extension]
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", rate, signal.shape[1], format=container, subtype=subtype
    ) as file:
        if tags is not None:
            file.artist, file.title = tags
        # one long write of Ogg Vorbis overflows the encoder's stack
        for start in range(0, len(signal), rate):
            file.write(signal[start : start + rate])
    return buffer.getvalue()


def _encode_aac(signal: np.ndarray, rate: int, tags: tuple[str, str] | None) -> bytes:
    buffer = io.BytesIO()
    layout = "mono" if signal.shape[1] == 1 else "stereo"
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=rate, layout=layout)
        if tags is not None:
            container.metadata.update(artist=tags[0], title=tags[1])
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(signal.T), format="fltp", layout=layout
        )
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _write_vectors(folder: Path) -> None:
    """Write the vectors that meta.json names, as the model makes them; one a week in their age."""
    from mert_backfill.demo.model import make_vectors

    tracks = [track for track in TRACKS if track.row == "embedded"]
    with tempfile.TemporaryDirectory() as sold:
        files = {_SOLD: Path(sold) / "sold.wav"}
        files[_SOLD].write_bytes(_file_bytes(DemoTrack("House/Sold.wav", 12)))
        files |= {track.path: folder / "music" / track.path for track in tracks}
        vectors = make_vectors(folder / "mert", list(files.values()))
    for week, (path, vector) in enumerate(zip(files, vectors, strict=True)):
        target = folder / "data" / "embeddings" / f"{Path(path).stem}.npy"
        write_atomically(target, partial(np.save, arr=vector))
        os.utime(target, (_FIRST_VECTOR_S + week * _WEEK_S,) * 2)


def _write_baseline(folder: Path) -> None:
    """Write meta.json in the style of a Windows program."""
    rows: dict[str, dict[str, Any]] = {}
    for track in TRACKS:
        row = _row(track.path)
        if track.row in ("embedded", "vector_gone"):
            row["embedding"] = _ref(track.path)
        if track.row != "none":
            rows.update(dict.fromkeys(_keys(track.path), row))
    rows[_WINDOWS_MUSIC + "House\\Sold.mp3"] = {**_row(_SOLD), "embedding": _ref(_SOLD)}
    rows["D:\\Old Disk\\Ida Holm - Gone For Ever.flac"] = _row("Ida Holm - Gone For Ever.flac")
    meta = {
        "version": 3,
        "note": "demo: the model that made the vectors is random: they mean nothing musically",
        "tracks": rows,
        "playlists": {"Warm up": list(rows)[:3]},
    }
    write_json(folder / "meta.json", meta)


def _keys(path: str) -> list[str]:
    """Return how meta.json spells a track; the odd spellings are those of the table above."""
    key = _WINDOWS_MUSIC + path.replace("/", "\\")
    if path == "Ambient/Zoë Lumière - Café à Minuit.flac":
        return [unicodedata.normalize("NFD", key)]
    if path == "Ambient/Nils Adler - Drift.m4a":
        return [key.upper()]
    if path == "House/Alva Nord - Night Bus.aiff":
        return [key, "c:/users/dj/music/" + path]
    return [key]


def _row(path: str) -> dict[str, Any]:
    """Return a row with fields that this project knows nothing of."""
    rng = np.random.default_rng(_seed("row " + path))
    artist, _, title = Path(path).stem.rpartition(" - ")
    return {
        "artist": artist,
        "title": title,
        "bpm": round(float(rng.uniform(85, 140)), 2),
        "key": f"{rng.integers(1, 13)}{rng.choice(['A', 'B'])}",
        "mytags": ["warm up"] if rng.random() < 0.5 else [],
        "cues": [{"pos_ms": int(rng.integers(0, 9000)), "label": "start"}],
    }


def _ref(path: str) -> str:
    return f"data\\embeddings\\{Path(path).stem}.npy"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m mert_backfill.demo.library FOLDER``; return the exit code."""
    parser = argparse.ArgumentParser(description="Make the demo library and the demo model.")
    parser.add_argument("folder", type=Path, help="the folder to make them in, such as demo")
    folder = parser.parse_args(arguments).folder
    try:
        made = make_demo(folder)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{folder}: {len(TRACKS)} tracks, {'made' if made else 'there already'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
