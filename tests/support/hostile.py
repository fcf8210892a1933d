r"""Hostile files, made by code, each with what has to become of it.

The outcome of a file is ``embedded``, the reason of its failure record, or what keeps it out
of the count: ``junk`` (counted as junk, never opened), ``not_regular`` (listed in
``samples.not_regular``, never opened) or ``not listed`` (no file at all).
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from support.audio_files import encode_streams, mp3, music, sound_bytes, write_audio, write_m4a

RATE = 16000
# where the fields of a WAV file's header are
_FORMAT_TAG, _CHANNELS, _SAMPLE_RATE, _BLOCK_ALIGN, _DATA_SIZE = 20, 22, 24, 32, 40
_ID3 = b"ID3\x04\0\0\0\0\x08\0" + bytes(1024)
Make = Callable[[Path, int], None]


@dataclass(frozen=True)
class Hostile:
    """A file below the root: its name, what is wrong with it in words, and its outcome.

    `remark` is what is said of one that is embedded all the same.
    """

    name: str
    what: str
    outcome: str
    make: Make
    remark: str = ""

    @property
    def is_found(self) -> bool:
        """Whether the scan takes it for a track."""
        return self.outcome not in {"junk", "not_regular", "not listed"}


def make_library(folder: Path) -> list[Hostile]:
    """Make all hostile files below `folder`; return those that this user may make."""
    made = []
    for seed, hostile in enumerate(HOSTILE):
        path = folder / hostile.name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            hostile.make(path, seed)
        except PermissionError:  # to make a device node takes root
            assert hostile.make is _device
            continue
        made.append(hostile)
    return made


# --- ways to make them; each gets the path and a seed, so that no two sound the same ------------


def _bytes(content: bytes) -> Make:
    return lambda path, seed: _write(path, content)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _audio(
    seconds: float = 0.6, rate: int = RATE, channels: int = 1, gain: float = 1.0, **options: str
) -> Make:
    """Write a sound, in the format of the name or of `options`."""

    def make(path: Path, seed: int) -> None:
        samples = gain * music(seconds, rate, channels, seed=seed)
        _rename(write_audio(_plain(path), samples, rate, **options), path)

    return make


def _samples(values: list[float], count: int, subtype: str = "FLOAT") -> Make:
    """Write a WAV file whose samples begin with `values` and repeat the last of them."""

    def make(path: Path, seed: int) -> None:
        samples = np.full((count, 1), values[-1], np.float32)
        samples[: len(values), 0] = values[:count]
        write_audio(path, samples, RATE, subtype=subtype)

    return make


def _changed(seconds: float, change: Callable[[bytes], bytes], suffix: str | None = None) -> Make:
    """Write a sound in the format of `suffix` (else of the name), then change its bytes."""

    def make(path: Path, seed: int) -> None:
        plain = _plain(path).with_suffix(suffix or path.suffix)
        content = write_audio(plain, music(seconds, RATE, 1, seed=seed), RATE).read_bytes()
        plain.unlink()
        path.write_bytes(change(content))

    return make


def _patched(at: int, value: bytes) -> Make:
    return _changed(0.6, lambda content: content[:at] + value + content[at + len(value) :])


def _cut(size: float, seconds: float = 0.6) -> Make:
    """Cut a file short: to `size` bytes, or to that share of it when below 1."""
    return _changed(seconds, lambda b: b[: int(size if size >= 1 else size * len(b))])


def _same_as(suffix: str) -> Make:
    """Write the format of `suffix` under a name that promises another."""
    return _changed(0.6, bytes, suffix)


def _m4a(keep: float, index_first: bool) -> Make:
    def make(path: Path, seed: int) -> None:
        write_m4a(path, music(3, RATE, 1, seed=seed), RATE, index_first=index_first)
        os.truncate(path, int(keep * path.stat().st_size))

    return make


def _alac(path: Path, seed: int) -> None:
    write_m4a(path, music(0.6, RATE, 1, seed=seed), RATE, codec="alac")


def _video(path: Path, seed: int) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = 16
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _ten_hours(path: Path, seed: int) -> None:
    """Write two minutes and a half of sound, and a hole of the rest: no disk is needed."""
    rate, hours = 8000, 10
    write_audio(path, music(150, rate, 1, seed=seed), rate, subtype="PCM_U8")
    size = hours * 3600 * rate
    with path.open("r+b") as file:
        file.seek(_DATA_SIZE)
        file.write(struct.pack("<I", size))
    os.truncate(path, _DATA_SIZE + 4 + size)


def _few_frames(path: Path, seed: int) -> None:
    content = mp3(music(3, RATE, 1, seed=seed), RATE)
    at = content.index(b"Info") + 8
    path.write_bytes(content[:at] + struct.pack(">I", 10) + content[at + 4 :])


def _joined(suffix: str, rate: int = RATE) -> Make:
    def make(path: Path, seed: int) -> None:
        parts = (music(2, rate, 1, seed=one) for one in (seed, 200 + seed))
        path.write_bytes(b"".join(sound_bytes(part, rate, suffix) for part in parts))

    return make


def _two_rates(path: Path, seed: int) -> None:
    parts = [mp3(music(2, rate, 1, seed=seed), rate, tag=False) for rate in (RATE, 44100)]
    path.write_bytes(b"".join(parts))


def _hole(length: int) -> Make:
    """Put zeros into a sound, a third behind its start."""
    return _changed(20, lambda b: b[: len(b) // 3] + bytes(length) + b[len(b) // 3 + length :])


def _emptied(path: Path, seed: int) -> None:
    content = mp3(music(9, RATE, 1, seed=seed), RATE)
    path.write_bytes(content[:40_000] + bytes(len(content) - 40_000))


def _crumbs(path: Path, seed: int) -> None:
    write_m4a(path, music(9, RATE, 1, seed=seed), RATE, index_first=True)
    content = path.read_bytes()
    start = content.index(b"mdat") + 1000
    path.write_bytes(content[:start] + bytes(len(content) - start))


def _stems(path: Path, seed: int) -> None:
    mix, drums = music(2, RATE, 1, seed=seed), music(2, RATE, 2, seed=1000)
    streams = [mix, drums, drums, drums, drums]
    path.write_bytes(encode_streams(streams, RATE, "aac", "ipod", defaults=range(5)))


def _locked(path: Path, seed: int) -> None:
    write_m4a(path, music(3, RATE, 1, seed=seed), RATE)
    path.write_bytes(path.read_bytes().replace(b"mp4a", b"drms"))


def _dts(path: Path, seed: int) -> None:
    samples = np.random.default_rng(seed).integers(-(2**15), 2**15, (RATE, 2), dtype=np.int16)
    for start in range(0, len(samples), 512):
        samples[start : start + 2].reshape(-1)[:3] = (0x7FFE, -0x7FFF, -0x3C4)
    write_audio(path, samples, RATE, subtype="PCM_16")


def _opposite(subtype: str) -> Make:
    def make(path: Path, seed: int) -> None:
        left = music(1, RATE, 1, seed=seed)
        write_audio(path, np.concatenate([left, -left], axis=1), RATE, subtype=subtype)

    return make


def _device(path: Path, seed: int) -> None:
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # as /dev/zero: reading never ends


def _fifo(path: Path, seed: int) -> None:
    os.mkfifo(path)


def _socket(path: Path, seed: int) -> None:
    folder = os.open(path.parent, os.O_RDONLY)  # a socket's own path must be short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def _link(target: str) -> Make:
    return lambda path, seed: path.symlink_to(target)


def _folder(path: Path, seed: int) -> None:
    path.mkdir()


def _rename(plain: Path, path: Path) -> None:
    plain.rename(path)


def _plain(path: Path) -> Path:
    """Return a name beside `path` that every encoder takes."""
    return path.with_name(f"made{path.suffix}")


def _names() -> list[Hostile]:
    """Return, for each hostile name, a sound that is embedded and a text that fails."""
    found = []
    for stem, what in NAMES.items():
        cut = stem[:236] if stem == LONG else stem  # with its ending 240
        found += [
            Hostile(f"names/{cut}.wav", f"name with {what}", "embedded", _audio()),
            Hostile(f"names/{cut}.mp3", f"name with {what}, not audio", "not_audio", _bytes(_TEXT)),
        ]
    return found


_TEXT = b"this is no music\n" * 50
LONG = "x" * 240
NAMES = {
    "new\nline": "a newline",
    "carriage\rreturn": "a carriage return",
    "tab\there": "a tab",
    "single 'quotes'": "single quotes",
    'double "quotes"': "double quotes",
    '"quoted"': "quotes around it",
    "{braces} {0} {chunk}": "braces",
    "$(touch hacked) $HOME ${HOME}": "a command substitution",
    "`touch hacked`": "backticks",
    "semi; touch hacked && touch hacked | cat": "semicolons, ampersands and a pipe",
    "-rf": "a leading dash",
    "--config limit=1": "the form of an option",
    " leading space": "a leading space",
    "trailing space ": "a trailing space before its extension",
    "%s %d %n %(name)s": "percent signs",
    "# hash": "a leading hash",
    "a # b": "a hash",
    "<script>alert(1)<": "HTML",
    "<img src=x onerror=alert(1)>&amp;": "HTML and an entity",
    "[link](javascript:alert(1)) *b* _i_ ~~s~~ |": "Markdown",
    "=1+1;@SUM(A1)": "a spreadsheet formula",
    "back\\slash": "a backslash",
    "*?[glob]": "wildcards",
    "\N{PARTY POPPER} \N{CJK UNIFIED IDEOGRAPH-6F22}": "emoji and Chinese",
    "NFC é": "an accent in one letter (NFC)",
    "NFD e\N{COMBINING ACUTE ACCENT}": "an accent of its own (NFD)",
    "right \N{RIGHT-TO-LEFT OVERRIDE} to left": "a right-to-left override",
    "line\N{LINE SEPARATOR}separator": "a Unicode line separator",
    "escape \x1b[2J\x07": "terminal control codes",
    os.fsdecode(b"latin-1 caf\xe9 \xff\xfe"): "bytes that are not UTF-8",
    "NaN": "the look of a missing value",
    LONG: "240 characters",
}

HOSTILE: tuple[Hostile, ...] = (
    # --- no audio, or no longer
    Hostile("empty.mp3", "empty file", "empty_file", _bytes(b"")),
    Hostile("empty-link.mp3", "link to an empty file", "empty_file", _link("empty.mp3")),
    Hostile("one byte.wav", "one byte", "not_audio", _bytes(b"\0")),
    Hostile("text.mp3", "text", "not_audio", _bytes(_TEXT)),
    Hostile(
        "random.mp3", "random bytes", "not_audio", _bytes(np.random.default_rng(0).bytes(50_000))
    ),
    Hostile("zeros.wav", "zeros", "not_audio", _bytes(bytes(50_000))),
    Hostile("page.m4a", "HTML as .m4a", "not_audio", _bytes(b"<!doctype html><p>404</p>" * 50)),
    Hostile("image.flac", "PNG as .flac", "not_audio", _bytes(b"\x89PNG\r\n\x1a\n" + bytes(999))),
    Hostile("zip.ogg", "ZIP as .ogg", "not_audio", _bytes(b"PK\x03\x04" + bytes(999))),
    Hostile(
        "playlist.mp3",
        "playlist that names a file of the system",
        "not_audio",
        _bytes(b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/etc/passwd\n#EXT-X-ENDLIST\n"),
    ),
    Hostile(
        "concat.m4a",
        "ffconcat script that names a file of the system",
        "not_audio",
        _bytes(b"ffconcat version 1.0\nfile '/etc/passwd'\n"),
    ),
    Hostile("video.m4a", "video without sound", "not_audio", _video),
    Hostile("tag only.mp3", "ID3 tag without music", "decode_error", _bytes(_ID3)),
    Hostile("codec.wav", "unknown codec", "unsupported_codec", _patched(_FORMAT_TAG, b"\x34\x12")),
    # --- cut short
    Hostile("header.wav", "WAV cut in its header", "decode_error", _cut(20)),
    Hostile("header only.wav", "WAV header without samples", "decode_error", _cut(44)),
    Hostile("header.flac", "FLAC cut in its header", "decode_error", _cut(60)),
    Hostile("header.mp3", "mp3 cut in its first frame", "decode_error", _cut(100)),
    Hostile("header.ogg", "Ogg cut in its header", "decode_error", _cut(40)),
    Hostile("header.aiff", "AIFF cut in its header", "decode_error", _cut(30)),
    Hostile("no index.m4a", "m4a cut before its index", "decode_error", _m4a(0.5, False)),
    Hostile("cut.wav", "WAV cut in the middle", "embedded", _cut(0.7, 3), "cut_short"),
    Hostile("cut.flac", "FLAC cut in the middle", "embedded", _cut(0.7, 3), "cut_short"),
    Hostile("cut.mp3", "mp3 cut in the middle", "embedded", _cut(0.7, 3), "cut_short"),
    Hostile("cut.ogg", "Ogg cut in the middle", "embedded", _cut(0.7, 3), "cut_short"),
    Hostile("cut.m4a", "m4a cut in the middle", "embedded", _m4a(0.7, True), "cut_short"),
    # --- more than a decoder gives that stops at the first trouble
    Hostile("few frames.mp3", "mp3 whose tag counts too few frames", "embedded", _few_frames),
    Hostile("joined.mp3", "two mp3 in one", "embedded", _joined(".mp3")),
    Hostile("joined.flac", "two FLAC in one", "embedded", _joined(".flac")),
    Hostile("chained.ogg", "Ogg of two links", "embedded", _joined(".ogg")),
    Hostile("chained.opus", "Opus of two links", "embedded", _joined(".opus", 48000)),
    Hostile("two rates.mp3", "mp3 that changes its rate", "embedded", _two_rates),
    Hostile("hole.mp3", "mp3 with 1.2 kB of zeros in it", "embedded", _hole(1200)),
    Hostile("flipped.flac", "FLAC with 8 damaged bytes", "embedded", _hole(8)),
    Hostile("zeros to the end.mp3", "mp3 that ends in zeros", "embedded", _emptied, "cut_short"),
    Hostile("crumbs.m4a", "m4a of which a tenth of a second is left", "decode_error", _crumbs),
    # --- more than there should be, or something else
    Hostile(
        "tail.mp3",
        "mp3 with garbage behind it",
        "embedded",
        _changed(0.6, lambda content: content + np.random.default_rng(1).bytes(3000)),
    ),
    Hostile(
        "tail.flac", "FLAC with zeros behind it", "embedded", _changed(0.6, lambda b: b + bytes(99))
    ),
    Hostile(
        "tag before.mp3", "mp3 behind an ID3 tag", "embedded", _changed(0.6, lambda b: _ID3 + b)
    ),
    Hostile(
        "tag before.flac", "FLAC behind an ID3 tag", "embedded", _changed(1, lambda b: _ID3 + b)
    ),
    Hostile("tag before.wav", "WAV behind an ID3 tag", "embedded", _changed(1, lambda b: _ID3 + b)),
    Hostile("tag before.m4a", "m4a behind an ID3 tag", "embedded", _changed(1, lambda b: _ID3 + b)),
    Hostile("stems.m4a", "stems: the first stream is the mix", "embedded", _stems),
    Hostile("locked.m4a", "copy-protected m4a", "unsupported_codec", _locked),
    Hostile("dts.wav", "DTS under the header of a WAV", "unsupported_codec", _dts),
    Hostile("opposite.wav", "channels that cancel each other out", "silent", _opposite("PCM_16")),
    Hostile("opposite float.wav", "the same in float32", "silent", _opposite("FLOAT")),
    Hostile("flac inside.mp3", "FLAC called .mp3", "embedded", _same_as(".flac")),
    Hostile("mp3 inside.wav", "mp3 called .wav", "embedded", _same_as(".mp3")),
    Hostile("m4a inside.ogg", "m4a called .ogg", "embedded", _same_as(".m4a")),
    Hostile("wav inside.m4a", "WAV called .m4a", "embedded", _same_as(".wav")),
    Hostile("UPPER.WAV", "extension in capitals", "embedded", _same_as(".wav")),
    Hostile("alac.m4a", "m4a that holds ALAC", "embedded", _alac),
    # --- headers that lie
    Hostile("size max.wav", "WAV that claims 4 GiB", "embedded", _patched(_DATA_SIZE, b"\xff" * 4)),
    Hostile("size zero.wav", "WAV that claims no data", "embedded", _patched(_DATA_SIZE, bytes(4))),
    Hostile("rate zero.wav", "sample rate 0", "decode_error", _patched(_SAMPLE_RATE, bytes(4))),
    Hostile(
        "rate max.wav", "sample rate 2147 MHz", "decode_error", _patched(_SAMPLE_RATE, b"\xff" * 4)
    ),
    Hostile("channels zero.wav", "no channels", "decode_error", _patched(_CHANNELS, bytes(2))),
    Hostile(
        "channels max.wav", "65,535 channels", "decode_error", _patched(_CHANNELS, b"\xff\xff")
    ),
    # --- too little to hear
    Hostile("one sample.wav", "one sample", "too_short", _samples([0.5], 1)),
    Hostile("10 ms.wav", "10 ms", "too_short", _audio(0.01)),
    Hostile("half a second.wav", "0.5 s", "embedded", _audio(0.5)),
    Hostile("silence.wav", "digital silence", "silent", _samples([0], RATE, "PCM_16")),
    Hostile(
        "near silence.wav",
        "silence but for one bit",
        "embedded",
        _samples([0] * 99 + [1 / 32768, 0], RATE, "PCM_16"),
    ),
    Hostile("constant.wav", "one value throughout", "embedded", _samples([0.25], RATE)),
    Hostile("nan.wav", "NaN among the samples", "non_finite", _samples([0.1, np.nan, 0.2], RATE)),
    Hostile("inf.wav", "Inf among the samples", "non_finite", _samples([0.1, np.inf, 0.2], RATE)),
    Hostile("clipped.wav", "clipped throughout", "embedded", _audio(gain=100.0)),
    Hostile("loud.wav", "samples up to 30", "embedded", _audio(gain=100.0, subtype="FLOAT")),
    Hostile("10 hours.wav", "10 hours long", "embedded", _ten_hours),
    # --- every rate, layout and width
    *(
        Hostile(f"rate {rate}.wav", f"{rate} Hz", "embedded", _audio(rate=rate))
        for rate in (8000, 11025, 22050, 32000, 44100, 48000, 88200, 96000, 176400, 192000)
    ),
    *(
        Hostile(f"{count} channels.wav", f"{count} channels", "embedded", _audio(channels=count))
        for count in range(2, 9)
    ),
    *(
        Hostile(f"{subtype}.wav", f"WAV of {width}", "embedded", _audio(subtype=subtype))
        for subtype, width in {
            "PCM_U8": "unsigned 8 bit",
            "PCM_24": "24 bit",
            "PCM_32": "32 bit",
            "DOUBLE": "float64",
            "ULAW": "u-law",
        }.items()
    ),
    # --- what is no file
    Hostile("loop.mp3", "link to itself", "not_regular", _link("loop.mp3")),
    Hostile("dangling.mp3", "dangling link", "not_regular", _link("nowhere.mp3")),
    Hostile("fifo.mp3", "FIFO", "not_regular", _fifo),
    Hostile("socket.mp3", "socket", "not_regular", _socket),
    Hostile("device.mp3", "device node", "not_regular", _device),
    Hostile("device link.mp3", "link to a device", "not_regular", _link("/dev/zero")),
    Hostile("folder.mp3", "folder called x.mp3", "not listed", _folder),
    Hostile("folder.mp3/inside.wav", "track in a folder called x.mp3", "embedded", _audio()),
    Hostile("folder link.mp3", "link to a folder", "not listed", _link("folder.mp3")),
    Hostile("around/around.mp3", "link to the folder it lies in", "not listed", _link(".")),
    Hostile("text.txt", "extension that is not configured", "not listed", _bytes(_TEXT)),
    Hostile("._junk.mp3", "AppleDouble file", "junk", _bytes(b"\x00\x05\x16\x07")),
    Hostile("__MACOSX/junk.mp3", "file below __MACOSX", "junk", _bytes(_TEXT)),
    *_names(),
)
