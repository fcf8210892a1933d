"""Audio files in every format, made by code."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from av.stream import Disposition

OPUS: dict[str, Any] = {"format": "OGG", "subtype": "OPUS"}
SOUNDFILE_OPTIONS: dict[str, dict[str, Any]] = {
    ".wav": {},
    ".flac": {},
    ".mp3": {"format": "MP3"},
    ".ogg": {"format": "OGG", "subtype": "VORBIS"},
    ".opus": OPUS,
    ".aiff": {"format": "AIFF"},
    ".aif": {"format": "AIFF"},
}


def music(
    seconds: float, rate: int = 44100, channels: int = 2, silence_s: float = 0.0, seed: int = 0
) -> np.ndarray:
    """Return a tone with noise after leading silence [shape=(n, channels), dtype=float32]."""
    noise = np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
    times = np.arange(len(noise)) / rate
    samples = 0.3 * np.sin(2 * np.pi * (220 + 20 * seed) * times)[:, None] + 0.02 * noise
    samples[: round(silence_s * rate)] = 0
    return samples.astype(np.float32)


def write_audio(path: Path, samples: np.ndarray, rate: int, **options: Any) -> Path:
    """Write samples [shape=(n, channels)] in the format that the name says, or `options` do."""
    if path.suffix == ".m4a" and "format" not in options:
        return write_m4a(path, samples, rate)
    options = options or SOUNDFILE_OPTIONS[path.suffix]
    channels = samples.shape[1]
    with soundfile.SoundFile(path, "w", samplerate=rate, channels=channels, **options) as file:
        for start in range(0, len(samples), rate):  # a long write of Vorbis crashes libsndfile
            file.write(samples[start : start + rate])
    return path


def write_m4a(
    path: Path, samples: np.ndarray, rate: int, codec: str = "aac", index_first: bool = False
) -> Path:
    """Write AAC or ALAC (16 bit); `index_first` makes a file that survives being cut short."""
    options = {"movflags": "faststart"} if index_first else {}
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[samples.shape[1]]
    planes = np.ascontiguousarray(samples.T)
    sample_format = "fltp"
    if codec == "alac":
        planes, sample_format = np.round(planes * 32767).astype(np.int16), "s16p"
    with av.open(str(path), "w", format="mp4", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = layout
        stream.format = sample_format
        frame = av.AudioFrame.from_ndarray(planes, format=sample_format, layout=layout)
        frame.sample_rate, frame.pts = rate, 0  # with a start, the encoder's delay is recorded
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def encode(
    samples: np.ndarray, rate: int, codec: str, kind: str, bit_rate: int = 128_000, **options: str
) -> bytes:
    """Return a file that ffmpeg's libraries make of samples [shape=(n, channels)].

    `kind` is the name of the container, `options` are the muxer's.
    """
    return encode_streams([samples], rate, codec, kind, bit_rate, (), **options)


def encode_streams(
    streams: Sequence[np.ndarray],
    rate: int,
    codec: str,
    kind: str,
    bit_rate: int = 128_000,
    defaults: Sequence[int] = (),
    **options: str,
) -> bytes:
    """Return a file of several audio streams; those at `defaults` are marked so."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind, options=options) as container:
        made = []
        for number, samples in enumerate(streams):
            layout = {1: "mono", 2: "stereo"}[samples.shape[1]]
            stream = container.add_stream(codec, rate=rate, layout=layout)
            assert isinstance(stream, av.AudioStream)
            stream.bit_rate = bit_rate
            if number in defaults:
                stream.disposition = Disposition.default
            made.append((stream, samples, layout))
        for stream, samples, layout in made:
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples.T), format="fltp", layout=layout
            )
            frame.sample_rate, frame.pts = rate, 0
            resampler = av.AudioResampler(stream.codec_context.format, layout, rate)
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(stream.encode(part))
            container.mux(stream.encode(None))
    return buffer.getvalue()


def mp3(samples: np.ndarray, rate: int = 44100, bit_rate: int = 128_000, tag: bool = True) -> bytes:
    """Return an mp3 of constant bit rate, with or without the tag that counts its frames."""
    tags = {"write_xing": str(int(tag)), "id3v2_version": "0"}
    return encode(samples, rate, "libmp3lame", "mp3", bit_rate, **tags)


def sound_bytes(samples: np.ndarray, rate: int, suffix: str) -> bytes:
    """Return a file that libsndfile makes, in the format of `suffix`."""
    buffer = io.BytesIO()
    options = SOUNDFILE_OPTIONS[suffix] or {"format": suffix[1:].upper()}
    channels = samples.shape[1]
    with soundfile.SoundFile(buffer, "w", samplerate=rate, channels=channels, **options) as file:
        for start in range(0, len(samples), rate):
            file.write(samples[start : start + rate])
    return buffer.getvalue()


def id3_tag(size: int) -> bytes:
    """Return an ID3v2 tag with a frame of `size` bytes (a cover, say)."""
    body = b"PRIV" + _synchsafe(size + 4) + b"\0\0abc\0" + np.random.default_rng(1).bytes(size)
    return b"ID3\x04\0\0" + _synchsafe(len(body)) + body


def id3_bomb(unpacked_bytes: int) -> bytes:
    """Return an ID3 tag whose cover is packed a thousandfold."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    packed = b"".join(packer.compress(block) for _ in range(unpacked_bytes >> 20))
    data = packed + packer.flush()
    frame = b"APIC" + struct.pack(">I", len(data) + 4) + b"\0\x80" + struct.pack(">I", 1) + data
    return b"ID3\3\0\0" + _synchsafe(len(frame)) + frame


def _synchsafe(number: int) -> bytes:
    return bytes(number >> shift & 127 for shift in (21, 14, 7, 0))


def ape_tag(size: int) -> bytes:
    """Return an APEv2 tag, as it stands behind an mp3, with `size` bytes in it."""
    frame = b"APETAGEX" + struct.pack("<IIII8x", 2000, size + 32, 1, 1 << 31)
    return frame + bytes(size) + frame


def dsf(rate: int, seconds: float, channels: int = 2, seed: int = 0) -> bytes:
    """Return a DSD file (.dsf) of noise; `rate` is that of its bits (in Hz)."""
    block = 4096
    blocks = int(rate * seconds / 8 / block)
    data = np.random.default_rng(seed).bytes(channels * blocks * block)
    samples = blocks * block * 8
    layout = struct.pack("<QIIIIIIQII", 52, 1, 0, channels, channels, rate, 1, samples, block, 0)
    total = 28 + 52 + 12 + len(data)
    head = b"DSD " + struct.pack("<QQQ", 28, total, 0) + b"fmt " + layout
    return head + b"data" + struct.pack("<Q", 12 + len(data)) + data


def write_hours(path: Path, hours: float, codec: str, kind: str, rate: int) -> Path:
    """Write many hours of sound: ten seconds, encoded once, over and over."""
    planes = np.ascontiguousarray(music(10, rate, 1).T)
    frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout="mono")
    frame.sample_rate, frame.pts = rate, 0
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate = 8000
        resampler = av.AudioResampler(stream.codec_context.format, "mono", rate)
        parts = [*resampler.resample(frame), *resampler.resample(None)]
        packets = [packet for part in parts for packet in stream.encode(part)][5:-5]
        length, base = packets[0].duration, packets[0].time_base
        assert length is not None
        assert base is not None
        seconds = float(length * base)
        contents = [bytes(packet) for packet in packets]
        for number in range(round(3600 * hours / seconds)):
            packet = av.Packet(contents[number % len(contents)])
            packet.stream, packet.time_base = stream, base
            packet.pts = packet.dts = number * length
            packet.duration = length
            container.mux(packet)
    return path
