"""Audio files in every format, made by code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile

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
