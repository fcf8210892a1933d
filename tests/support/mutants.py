"""Small files of every format, and ways to damage them that know where it hurts.

Everything follows from a number: `mutant(number)` is the same file wherever the encoders are the
same.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

from support.audio_files import ape_tag, dsf, encode, id3_tag, mp3, music, sound_bytes, write_m4a

SECONDS = 4.0  # of each file before it is damaged
RATE = 16000

Random = np.random.Generator
Mutate = Callable[[bytes, Random], bytes]


@dataclass(frozen=True)
class Mutant:
    """A damaged file.

    Attributes
    ----------
    number : int
        What it was made from.
    kind : str
        The format, and what was done to it.
    content : bytes
        The file.
    is_told : bool
        Its header is whole and says how long it is, and nothing was added: if there is less sound,
        that has to be remarked on.
    """

    number: int
    kind: str
    content: bytes
    is_told: bool


def mutant(number: int) -> Mutant:
    """Return the mutant of a number."""
    random = np.random.default_rng(number)
    name = _choose(random, sorted(FORMATS))
    content = whole_file(name)
    is_told = name in _SAYS_ITS_LENGTH
    done = []
    for _ in range(int(random.integers(1, 4))):
        how = _choose(random, sorted(_MUTATIONS))
        content = _MUTATIONS[how](content, random)
        is_told = is_told and how in _IN_THE_SOUND
        done.append(how)
    return Mutant(number, f"{name}: {', '.join(done)}", content or b"\0", is_told)


# --- the formats ------------------------------------------------------------------------------


@cache
def whole_file(name: str) -> bytes:
    """Return the healthy file of a format."""
    return FORMATS[name]()


def _sound(rate: int = RATE, channels: int = 1) -> np.ndarray:
    return music(SECONDS, rate, channels)


def _soundfile(kind: str, subtype: str, channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, _sound(channels=channels), RATE, format=kind, subtype=subtype)
    return buffer.getvalue()


def _m4a(codec: str, index_first: bool) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.m4a")
        return write_m4a(path, _sound(), RATE, codec=codec, index_first=index_first).read_bytes()


FORMATS: dict[str, Callable[[], bytes]] = {
    "wav": lambda: _soundfile("WAV", "PCM_16", 2),
    "wav of floats": lambda: _soundfile("WAV", "FLOAT"),
    "wav of ADPCM": lambda: _soundfile("WAV", "IMA_ADPCM"),
    "w64": lambda: _soundfile("W64", "PCM_24"),
    "caf": lambda: _soundfile("CAF", "ALAC_16"),
    "aiff": lambda: _soundfile("AIFF", "PCM_24"),
    "au": lambda: _soundfile("AU", "ULAW"),
    "flac": lambda: _soundfile("FLAC", "PCM_16", 2),
    "flac in Ogg": lambda: encode(_sound(), RATE, "flac", "ogg"),
    "mp3": lambda: mp3(_sound(), RATE, 32_000),
    "mp3 without a tag": lambda: mp3(_sound(), RATE, 32_000, tag=False),
    "mp3 of libsndfile": lambda: sound_bytes(_sound(channels=2), RATE, ".mp3"),
    "ogg": lambda: sound_bytes(_sound(), RATE, ".ogg"),
    "opus": lambda: sound_bytes(_sound(), RATE, ".opus"),
    "m4a": lambda: _m4a("aac", False),
    "m4a, index first": lambda: _m4a("aac", True),
    "alac": lambda: _m4a("alac", True),
    "fragmented m4a": lambda: encode(
        _sound(), RATE, "aac", "mp4", movflags="frag_keyframe+empty_moov+default_base_moof"
    ),
    "adts": lambda: encode(_sound(), RATE, "aac", "adts", 48_000),
    "mka": lambda: encode(_sound(), RATE, "aac", "matroska", 48_000),
    "wma": lambda: encode(_sound(), RATE, "wmav2", "asf", 48_000),
    "ac3": lambda: encode(_sound(48000), 48000, "ac3", "ac3", 64_000),
    "wavpack": lambda: encode(_sound(), RATE, "wavpack", "wv"),
    "tta": lambda: encode(_sound(), RATE, "tta", "tta"),
    "dsf": lambda: dsf(2_822_400, 0.2, 1),
}
_SAYS_ITS_LENGTH = {"wav", "aiff", "flac", "mp3", "m4a, index first", "alac"}


# --- the damage ---------------------------------------------------------------------------------


def _choose(random: Random, names: list[str]) -> str:
    return names[int(random.integers(len(names)))]


def _place(content: bytes, random: Random, start: float = 0.0) -> int:
    """Return a place from `start` (a share of the content) on; often in the header."""
    low = int(start * len(content))
    high = max(low + 1, len(content))
    if not start and random.random() < 0.5:
        high = min(high, 256)
    return int(random.integers(low, high))


def _replace(content: bytes, at: int, value: bytes) -> bytes:
    return content[:at] + value + content[at + len(value) :]


def _flip(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(int(random.integers(1, 20)) if changed else 0):
        changed[_place(content, random)] ^= int(random.integers(1, 256))
    return bytes(changed)


_NUMBERS = [
    0, 1, 2, 3, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0xFFFFFF,
    0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF,
]  # fmt: skip


def _number(content: bytes, random: Random) -> bytes:
    """Put a number of the kind that breaks sums behind a name, or anywhere in the header."""
    number = _NUMBERS[int(random.integers(len(_NUMBERS)))]
    names = [m.start() for m in re.finditer(rb"[A-Za-z][A-Za-z0-9 ]{3}", content[:8192])]
    at = names[int(random.integers(len(names)))] if names else 0
    at += int(random.choice([-4, 4, 8, 12, 16, 20]))
    size = int(random.choice([2, 4, 4, 8]))
    order = "big" if random.random() < 0.5 else "little"
    value = (number % 256**size).to_bytes(size, "big" if order == "big" else "little")
    return _replace(content, max(0, at), value)[: len(content)]


def _cut(content: bytes, random: Random) -> bytes:
    return content[: _place(content, random)]


def _cut_in_the_sound(content: bytes, random: Random) -> bytes:
    return content[: _place(content, random, 0.4)]


def _hole(content: bytes, random: Random) -> bytes:
    """Put zeros or noise over a stretch of the second half."""
    length = int(random.integers(1, 6000))
    filling = bytes(length) if random.random() < 0.5 else random.bytes(length)
    at = _place(content, random, 0.4)
    return _replace(content, at, filling)[: len(content)]


def _sprinkle(content: bytes, random: Random) -> bytes:
    """Damage a byte every so often in the second half: many packets, a little."""
    changed = bytearray(content)
    step = int(random.integers(50, 2000))
    for at in range(_place(content, random, 0.4), len(changed), step):
        changed[at] ^= int(random.integers(1, 256))
    return bytes(changed)


def _drop(content: bytes, random: Random) -> bytes:
    at = _place(content, random)
    return content[:at] + content[at + int(random.integers(1, 3000)) :]


def _repeat(content: bytes, random: Random) -> bytes:
    start, end = sorted((_place(content, random), _place(content, random)))
    times = int(random.integers(1, 4))
    return (content[:end] + content[start:end] * times + content[end:])[: 1 << 21]


def _insert(content: bytes, random: Random) -> bytes:
    at = _place(content, random)
    return content[:at] + random.bytes(int(random.integers(1, 3000))) + content[at:]


def _splice(content: bytes, random: Random) -> bytes:
    """Go on with another file, at any place of both."""
    other = whole_file(_choose(random, sorted(FORMATS)))
    return content[: _place(content, random)] + other[_place(other, random) :]


def _join(content: bytes, random: Random) -> bytes:
    return content + whole_file(_choose(random, sorted(FORMATS)))


def _tag_in_front(content: bytes, random: Random) -> bytes:
    tag = id3_tag(int(random.integers(0, 5000)))
    if random.random() < 0.5:  # of a size that is not its own
        tag = _replace(tag, 6, bytes(random.integers(0, 128, 4, dtype=np.uint8)))
    return tag + content


def _tag_behind(content: bytes, random: Random) -> bytes:
    tag = ape_tag(int(random.integers(0, 5000)))
    if random.random() < 0.5:
        tag = _replace(tag, len(tag) - 20, random.bytes(4))
    return content + tag


_MUTATIONS: dict[str, Mutate] = {
    "flip": _flip,
    "number": _number,
    "cut": _cut,
    "cut in the sound": _cut_in_the_sound,
    "hole": _hole,
    "sprinkle": _sprinkle,
    "drop": _drop,
    "repeat": _repeat,
    "insert": _insert,
    "splice": _splice,
    "join": _join,
    "tag in front": _tag_in_front,
    "tag behind": _tag_behind,
}
_IN_THE_SOUND = {"cut in the sound", "hole", "sprinkle"}
