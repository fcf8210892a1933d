"""The recipes, written down plainly from their definitions.

Nothing of the engine is used: whole files, one track at a time, the usual library calls.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import librosa
import numpy as np
import soundfile
import torch
from transformers import HubertModel, Wav2Vec2FeatureExtractor


def reference_vector(
    decoded: tuple[np.ndarray, int], model_folder: Path, recipe: str = "canonical"
) -> np.ndarray:
    """Return the float16 vector [shape=(D,)] of samples [shape=(n,) or (n, c)] and their rate."""
    samples, rate = decoded
    mono = samples if samples.ndim == 1 else librosa.to_mono(samples.T)
    mono = mono[: 120 * rate]
    seconds = [(0.0, len(mono) / rate)] if recipe == "whole" else window_seconds(mono, rate)
    windows = [
        librosa.resample(
            mono[int(start * rate) : int(end * rate)],
            orig_sr=rate,
            target_sr=24000,
            res_type="soxr_hq",
        )
        for start, end in seconds
    ]
    extractor, model = _load(model_folder)
    if recipe == "padded":  # all windows in one batch
        inputs = extractor(
            windows,
            sampling_rate=24000,
            return_tensors="pt",
            padding=True,
            return_attention_mask=True,
        )
        with torch.no_grad():
            states = model(**inputs).last_hidden_state
        return states.mean(dim=1).mean(dim=0).numpy().astype(np.float16)
    vectors = []
    for window in windows:
        inputs = extractor(window, sampling_rate=24000, return_tensors="pt")
        with torch.no_grad():
            states = model(inputs["input_values"]).last_hidden_state
        vectors.append(states[0].mean(dim=0).numpy())
    return np.mean(vectors, axis=0).astype(np.float16)


def window_seconds(mono: np.ndarray, rate: int) -> list[tuple[float, float]]:
    """Return start and end of each window in seconds."""
    total = len(mono) / rate
    if total < 80:
        return [(0.0, total)]
    core = 40.0 if total < 140 else 60.0
    loud = np.flatnonzero(np.abs(mono) > 1e-4)
    intro_start = loud[0] / rate if len(loud) else 0.0
    core_start = max(0.0, min(total / 2 - core / 2, total - core))
    late_start = max(total - 15.0, core_start + core + 5.0)
    spans = [
        (intro_start, intro_start + 10.0),
        (core_start, core_start + core),
        (late_start, total - 5.0),
    ]
    spans = [(start, min(end, total)) for start, end in spans]
    return [span for span in spans if span[1] - span[0] > 1.0] or [(0.0, min(10.0, total))]


def decode(path: str) -> tuple[np.ndarray, int]:
    """Return samples [shape=(n, channels)] and native rate of a whole file.

    They are libsndfile's, or those of ffmpeg where it hears over half a second more.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        return _decode_with_av(path)
    if len(samples) / rate < 120:
        others, other_rate = _decode_with_av(path)
        if len(others) / other_rate > len(samples) / rate + 0.5:
            return others, other_rate
    return samples, rate


def _decode_with_av(path: str) -> tuple[np.ndarray, int]:
    with av.open(path) as container:
        stream = container.streams.audio[0]
        to_float = av.AudioResampler(format="fltp")
        frames: list[Any] = []
        for packet in container.demux(stream):
            with suppress(av.FFmpegError):  # a damaged packet
                frames += packet.decode()
        blocks = []
        for frame in [*frames, None]:
            blocks += [block.to_ndarray() for block in to_float.resample(frame)]
        return np.concatenate(blocks, axis=1).T, stream.rate


@lru_cache(maxsize=2)
def _load(model_folder: Path) -> tuple[Any, Any]:
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(model_folder)
    return extractor, HubertModel.from_pretrained(model_folder).eval()
