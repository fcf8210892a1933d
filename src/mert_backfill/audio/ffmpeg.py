"""PyAV (ffmpeg's libraries): what libsndfile cannot read, and the second opinion on the rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from mert_backfill.audio.source import Source
from mert_backfill.audio.stream import NoSoundError, Stream

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream
    from av.container import InputContainer

# Playlists (hls, concat, dash) stay out, since they make ffmpeg open other files and addresses.
_FORMATS = (
    "mov,mp3,aac,flac,wav,w64,aiff,caf,matroska,asf,ape,wv,tta,mpc,mpc8,dsf,iff,ac3,eac3,amr,ogg"
)
# PyAV 18.1 reads behind ffmpeg's array of planes; damaged AAC may claim dozens of channels
_MAX_PLANES = 8
# formats that keep no length: what ffmpeg says of them is a guess from their first packets; that
# of an Ogg is the place of its last page, which in a chain counts from its last link only
_GUESSED_LENGTH = frozenset({"mp3", "aac", "ac3", "eac3", "amr", "ogg"})


@contextmanager
def open_with_ffmpeg(source: Source) -> Iterator[Stream]:
    """Open a file with PyAV; which of its streams is heard see `_choose`.

    Raises
    ------
    NoSoundError
        There is no audio stream in the file.
    av.FFmpegError
        PyAV cannot read this.
    """
    import av
    import av.logging  # needed for few files, and it takes a moment

    av.logging.set_level(av.logging.PANIC)
    options = {"format_whitelist": _FORMATS}
    with av.open(source, "r", container_options=options, metadata_errors="replace") as container:
        chosen = _choose(container)
        stream = Stream(iter(()), _length(container, chosen))
        stream.blocks = _blocks(container, chosen, stream)
        yield stream


def _choose(container: InputContainer) -> AudioStream:
    """Return the first stream that the file marks as its default, else the first.

    Never the "best" one: in a file of stems (the mix, drums, bass, ...) that may be the drums.
    """
    from av.stream import Disposition

    streams = container.streams.audio
    if not streams:
        raise NoSoundError("there is no sound in the file")
    return next((s for s in streams if s.disposition & Disposition.default), streams[0])


def _length(container: InputContainer, chosen: AudioStream) -> float | None:
    if container.format.name in _GUESSED_LENGTH:
        return None
    if chosen.duration and chosen.time_base:
        return float(chosen.duration * chosen.time_base)
    return container.duration / 1e6 if container.duration else None


def _blocks(
    container: InputContainer, chosen: AudioStream, stream: Stream
) -> Iterator[tuple[np.ndarray, int]]:
    import av

    damage: Exception | None = None
    for packet in container.demux(chosen):
        try:
            frames = [frame for frame in packet.decode() if isinstance(frame, av.AudioFrame)]
            samples = [(frame_samples(frame), frame.sample_rate) for frame in frames]
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError) as error:  # one damaged packet; the next may be whole
            damage = damage or error
            continue
        if samples:
            stream.decoded_bytes += packet.size
        yield from samples
    if damage is not None and not stream.decoded_bytes:
        raise damage


def frame_samples(frame: AudioFrame) -> np.ndarray:
    """Return the samples of a frame in [-1, 1] [shape=(n, channels), dtype=float32].

    Raises
    ------
    ValueError
        It has more channels than PyAV can read.
    """
    channels = frame.layout.nb_channels
    if frame.format.is_planar and channels > _MAX_PLANES:
        raise ValueError(f"{channels} channels")
    raw = frame.to_ndarray()  # (channels, n), or (1, n * channels) when they alternate
    samples = raw.T if frame.format.is_planar else raw.reshape(-1, channels)
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    if samples.dtype.kind == "u":
        return (samples.astype(np.float32) - 128) / 128
    full_scale = 1 << (8 * samples.dtype.itemsize - 1)
    return (samples.astype(np.float64) / full_scale).astype(np.float32)
