"""What a file tells of itself before it is decoded: tags around it, locks on it, its length.

Marks are small, fixed patterns. Where one is missing or damaged the answer is that nothing is
known, never an error: what cannot be read is the decoders' to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mert_backfill.audio.source import Source
from mert_backfill.failures import Reason, TrackError

HEAD_BYTES = 16
_MPEG_FRAME = rb"\xff[\xe2\xe3\xf0-\xf5\xf8-\xfd]"
# how files begin that are audio, or once were: damaged ones are told from ones that never were
_AUDIO_HEAD = re.compile(
    rb"RIFF|RIFX|RF64|riff|FORM|fLaC|OggS|ID3|caff|wvPk|MAC |TTA1|MP\+|MPCK|DSD |FRM8|#!AMR|\.snd"
    rb"|....ftyp|\x0b\x77|\x1a\x45\xdf\xa3|\x30\x26\xb2\x75|" + _MPEG_FRAME,
    re.DOTALL,
)
# Formats that say how long they are and end there. All others go on until their bytes end, so
# that bytes which a decoder left are sound that it did not give.
_COUNTED_HEAD = re.compile(rb"RIFF|RIFX|RF64|riff|FORM|FRM8|caff|\.snd|DSD |....ftyp", re.DOTALL)
_MAX_PARTS = 1000  # tags, chunks or boxes that are looked at in a row


def looks_like_audio(head: bytes) -> bool:
    """Tell whether a file that begins with `head` is audio, or once was."""
    return _AUDIO_HEAD.match(head) is not None


def is_counted(head: bytes) -> bool:
    """Tell whether the format says how long it is; what lies behind that is no sound."""
    return _COUNTED_HEAD.match(head) is not None


def is_plain_frames(head: bytes) -> bool:
    """Tell whether it is a row of frames and nothing else, as mp3 and AAC without a container."""
    return re.match(rb"ID3|" + _MPEG_FRAME, head) is not None


def is_dsd(head: bytes) -> bool:
    """Tell whether it is DSD, whose rates are in the millions."""
    return head.startswith((b"DSD ", b"FRM8"))


# --- tags around the audio ------------------------------------------------------------------------


def skip_tag_in_front(source: Source) -> None:
    """Skip ID3 tags in front of a format that knows no such thing (FLAC, wav, m4a, ...).

    mp3 and its like keep theirs: their decoders know it, and their samples must stay as they are.
    """
    at = 0
    for _ in range(_MAX_PARTS):
        length = _id3_length(source.read_at(at, 10))
        if not length:
            break
        at += length
    head = source.read_at(at, HEAD_BYTES)
    if at and looks_like_audio(head) and not is_plain_frames(head):
        source.skip(at)


def _id3_length(head: bytes) -> int:
    if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 127:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + size + (10 if head[5] & 0x10 else 0)


def audio_bytes(source: Source) -> tuple[int, int]:
    """Return where the bytes between the tags in front and behind begin and end."""
    start = _id3_length(source.read_at(0, 10))
    end = source.size
    if source.read_at(end - 128, 3) == b"TAG":
        end -= 128
    for _ in range(2):  # either may come first
        footer = source.read_at(end - 32, 32)
        if footer[:8] == b"APETAGEX":
            has_header = footer[23] & 0x80
            end -= int.from_bytes(footer[12:16], "little") + (32 if has_header else 0)
        elif re.fullmatch(rb"\d{6}LYRICS200", footer[-15:]):
            end -= int(footer[-15:-9]) + 15
    return start, max(start, end)


# --- what no decoder may be asked for ----------------------------------------------------------

_ASF_HEAD = bytes.fromhex("3026b2758e66cf11")
_ASF_ENCRYPTED = (  # the objects of Windows Media DRM, of two versions
    bytes.fromhex("fbb31122 23bdd211 b4b700a0 c955fc6e"),
    bytes.fromhex("14e68a29 2226174c b935dae0 7ee9289c"),
)
_ASF_HEADER_BYTES = 1 << 16
_LOCKED = {b"drms": "FairPlay", b"enca": "Common Encryption", b"aavd": "Audible"}


def refuse_encrypted(source: Source) -> None:
    """Refuse a file that is encrypted: decoders take its bytes for sound, and give noise.

    Raises
    ------
    TrackError
        Stage decode, reason unsupported_codec.
    """
    lock = _lock(source)
    if lock is not None:
        raise TrackError(
            "decode",
            Reason.UNSUPPORTED_CODEC,
            f"copy-protected ({lock}): only the shop's own player can open it; get the track "
            "without protection",
        )


def _lock(source: Source) -> str | None:
    head = source.read_at(0, HEAD_BYTES)
    if head.startswith(_ASF_HEAD):
        header = source.read_at(0, _ASF_HEADER_BYTES)
        return "Windows Media" if any(mark in header for mark in _ASF_ENCRYPTED) else None
    if head[4:8] != b"ftyp":
        return None
    path = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    for start, _ in _boxes_at(source, path, 0, source.size):
        entry = source.read_at(start + 12, 4)  # behind version, count, and the entry's size
        if entry in _LOCKED:
            return _LOCKED[entry]
    return None


def _boxes_at(
    source: Source, path: tuple[bytes, ...], start: int, end: int
) -> Iterator[tuple[int, int]]:
    """Yield where the contents of the boxes at a path begin and end, of an mp4 file."""
    for kind, inner, after in _boxes(source, start, end):
        if kind == path[0]:
            if len(path) == 1:
                yield inner, after
            else:
                yield from _boxes_at(source, path[1:], inner, after)


def _boxes(source: Source, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    for _ in range(_MAX_PARTS):
        head = source.read_at(start, 16)
        size, kind, inner = int.from_bytes(head[:4], "big"), head[4:8], start + 8
        if size == 1:
            size, inner = int.from_bytes(head[8:16], "big"), start + 16
        elif size == 0:  # to the end of the file
            size = end - start
        if len(head) < 8 or size < inner - start:
            return
        yield kind, inner, min(start + size, end)
        start += size
        if start >= end:
            return


@dataclass(frozen=True)
class _Sync:
    """How each frame of a compressed stream begins that is played as if it were PCM.

    Two samples of 16 bits, and what the third holds in some of its bits.
    """

    name: str
    first: int
    second: int
    mask: int = 0
    value: int = 0


_SYNCS = (
    _Sync("DTS", 0x7FFE, 0x8001, 0xFC00, 0xFC00),
    _Sync("DTS", 0xFE7F, 0x0180, 0x00FC, 0x00FC),  # bytes swapped
    _Sync("DTS", 0x1FFF, 0xE800, 0xFFF0, 0x07F0),  # 14 bits
    _Sync("DTS", 0xFF1F, 0x00E8, 0xF0FF, 0xF007),
    _Sync("S/PDIF (AC-3, DTS)", 0xF872, 0x4E1F),
    _Sync("S/PDIF (AC-3, DTS)", 0x72F8, 0x1F4E),
)
_MIN_SYNCS = 3
_FRAME_STEP = 32  # samples of a channel: what the lengths of all their frames are multiples of


def refuse_compressed_pcm(samples: np.ndarray) -> None:
    """Refuse sound that is a DTS or AC-3 stream: as PCM it is white noise.

    Parameters
    ----------
    samples : np.ndarray [shape=(n, channels), dtype=float32]
        The first sound of a file; all of the stream's frames in it are looked for.

    Raises
    ------
    TrackError
        Stage decode, reason unsupported_codec.
    """
    if samples.shape[1] != 2:
        return
    scaled = samples.ravel() * np.float32(32768)
    with np.errstate(invalid="ignore"):  # NaN is refused later
        words = np.clip(scaled, -32768, 32767).astype(np.int16).view(np.uint16)
    for sync in _SYNCS:
        found = np.flatnonzero(
            (words[:-2] == sync.first)
            & (words[1:-1] == sync.second)
            & (words[2:] & sync.mask == sync.value)
        )
        if len(found) >= _MIN_SYNCS and not (np.diff(found) % (2 * _FRAME_STEP)).any():
            raise TrackError(
                "decode",
                Reason.UNSUPPORTED_CODEC,
                f"its samples are a {sync.name} stream (surround sound), which would be heard as "
                "noise; convert the file to plain stereo",
            )


# --- how long the file says that it is ----------------------------------------------------------

_UNKNOWN_SIZE = 0x7FF00000  # writers that did not know it put this or more
_MPEG_RATES = (44100, 48000, 32000)
_SEARCHED_BYTES = 1 << 12
_OGG_PAGE_BYTES = 27 + 255 + 255 * 255
_LAYER_3_FRAME = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]..", re.DOTALL)
_ByteOrder = Literal["little", "big"]


def says_seconds(source: Source) -> float | None:
    """Return the length (in seconds) in the header of a wav, aiff or mp3, None if it has none.

    Decoders correct it to what is there, and a file that was cut looks whole to them.
    """
    head = source.read_at(0, HEAD_BYTES)
    if head[:4] in (b"RIFF", b"RIFX") and head[8:12] == b"WAVE":
        return _wav_seconds(source, "little" if head[3:4] == b"F" else "big")
    if head[:4] == b"FORM" and head[8:11] == b"AIF":
        return _aiff_seconds(source)
    return _mp3_seconds(source) if is_plain_frames(head) else None


def is_cut_ogg(source: Source) -> bool:
    """Tell whether an Ogg file ends in the middle of a page; it says nowhere how long it is."""
    if source.read_at(0, 4) != b"OggS":
        return False
    end = source.read_at(max(0, source.size - _OGG_PAGE_BYTES), _OGG_PAGE_BYTES)
    page = end[end.rfind(b"OggS") :]
    return len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def _chunks(source: Source, order: _ByteOrder) -> Iterator[tuple[bytes, int, int]]:
    at = 12
    for _ in range(_MAX_PARTS):
        head = source.read_at(at, 8)
        if len(head) < 8:
            return
        size = int.from_bytes(head[4:], order)
        yield head[:4], at + 8, size
        at += 8 + size + size % 2


def _wav_seconds(source: Source, order: _ByteOrder) -> float | None:
    bytes_per_s = 0
    for kind, start, size in _chunks(source, order):
        if kind == b"fmt ":
            bytes_per_s = int.from_bytes(source.read_at(start + 8, 4), order)
        elif kind == b"data":
            known = 0 < size < _UNKNOWN_SIZE and bytes_per_s
            return size / bytes_per_s if known else None
    return None


def _aiff_seconds(source: Source) -> float | None:
    for kind, start, _ in _chunks(source, "big"):
        if kind == b"COMM":
            field = source.read_at(start, 18)
            frames, exponent = int.from_bytes(field[2:6], "big"), int.from_bytes(field[8:10], "big")
            mantissa = int.from_bytes(field[10:18], "big")  # of an 80 bit float
            rate = mantissa * 2.0 ** ((exponent & 0x7FFF) - 16383 - 63) if exponent < 16450 else 0
            return frames / rate if rate >= 1 and frames < _UNKNOWN_SIZE else None
    return None


def _mp3_seconds(source: Source) -> float | None:
    """Return what the Xing, Info or VBRI tag in the first frame of an mp3 says."""
    text = source.read_at(_id3_length(source.read_at(0, 10)), _SEARCHED_BYTES)
    found = _LAYER_3_FRAME.search(text)
    if found is None:
        return None
    frame, version, rate_index = text[found.start() :][:200], found[0][1] >> 3 & 3, found[0][2] >> 2
    if rate_index & 3 == 3:
        return None
    rate = _MPEG_RATES[rate_index & 3] / {3: 1, 2: 2, 0: 4}[version]
    samples = 1152 if version == 3 else 576
    tag = re.search(rb"(?:Xing|Info)...[\x01\x03\x05\x07\x09\x0b\x0d\x0f](....)", frame, re.DOTALL)
    if tag is None:
        tag = re.search(rb"VBRI.{10}(....)", frame, re.DOTALL)
    return int.from_bytes(tag[1], "big") * samples / rate if tag else None
