"""Stand-ins for the model, for what decodes and for what embeds; and a failure."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mert_backfill.audio.decode import prepare_track
from mert_backfill.audio.prepared import DecodeResult, PreparedTrack
from mert_backfill.failures import Failure, TrackError
from mert_backfill.model.embedding import WindowEmbedding
from mert_backfill.model.info import ModelInfo
from mert_backfill.recipes import CANONICAL
from mert_backfill.store.profile import Profile, make_profile

D = 4
LAYERS = 2
RATE = 24_000  # the model's own: a window is as long as its file
CHUNK = "part001-0123abcd"


def a_model(seed: int = 0) -> ModelInfo:
    """Return what is known of a model that does not exist."""
    return ModelInfo(
        name="tiny",
        revision=None,
        folder=Path("tiny"),
        architecture={"hidden_size": D, "num_attention_heads": 1, "intermediate_size": D},
        weight_files=(),
        weights_sha256=f"{seed:064x}",
        hidden_size=D,
        layers=LAYERS,
        masked_spec_embed=False,
        is_demo=True,
    )


def a_profile(seed: int = 0) -> Profile:
    """Return the canonical profile of that model."""
    return make_profile(CANONICAL, a_model(seed))


def a_failure(track: str, **changes: Any) -> Failure:
    """Return a permanent failure of a track."""
    failure = Failure(
        path=f"/music/{track}.mp3",
        track_id=track,
        chunk=CHUNK,
        stage="decode",
        reason="not_audio",
        error="LibsndfileError: bad",
        permanent=True,
        attempts=1,
        size_bytes=5,
        mtime_ns=7,
        timestamp="2026-01-01T00:00:00+00:00",
    )
    return replace(failure, **changes)


def prepared(content: bytes, windows: Sequence[str] = ("core",)) -> PreparedTrack:
    """Return what decoding makes of a content: windows of D numbers that stand for it."""
    digest = hashlib.sha256(content)
    numbers = np.frombuffer(digest.digest()[:D], np.uint8).astype(np.float32) + 1
    parts = tuple(numbers + row for row in range(len(windows)))
    return PreparedTrack(tuple(windows), parts, 3.0, 44_100, digest.hexdigest())


class FakeDecoder:
    """Takes any content for audio; what it is told to raise for a name, it answers.

    `asked` holds the names of each call, in order; `sung` those whose harmony was wanted: 18 times
    the first number of their window.
    """

    def __init__(
        self,
        errors: Mapping[str, TrackError | list[TrackError]] | None = None,
        windows: Sequence[str] = ("core",),
        wants_harmony: Callable[[str], bool] = lambda track_id: False,
    ) -> None:
        self._errors = {
            name: [*error] if isinstance(error, list) else [error] * 9
            for name, error in (errors or {}).items()
        }
        self._windows = windows
        self._wants_harmony = wants_harmony
        self.asked: list[list[str]] = []
        self.sung: list[str] = []

    @property
    def names(self) -> list[str]:
        """All that it was asked for."""
        return [name for asked in self.asked for name in asked]

    def decode(self, tracks: Iterator[tuple[str, str]]) -> Iterator[DecodeResult]:
        asked: list[str] = []
        self.asked.append(asked)
        for track, path in tracks:
            name = os.path.basename(path)
            asked.append(name)
            if self._errors.get(name):
                yield DecodeResult(track, 0.1, None, self._errors[name].pop(0))
            else:
                made = prepared(Path(path).read_bytes(), self._windows)
                if self._wants_harmony(track):
                    self.sung.append(name)
                    harmony = np.full(18, made.windows[0][0], np.float32)
                    made = replace(made, harmony=harmony, seconds_harmonic=0.5)
                yield DecodeResult(track, 0.1, made, None)


class PlainDecoder:
    """Decodes in this process, one track at a time; `before` is called with each path."""

    def __init__(self, before: Callable[[str], object] = lambda path: None) -> None:
        self._before = before

    def decode(self, tracks: Iterator[tuple[str, str]]) -> Iterator[DecodeResult]:
        for identity, path in tracks:
            self._before(path)
            started = time.monotonic()
            track: PreparedTrack | None = None
            error: TrackError | None = None
            try:
                track = prepare_track(path, CANONICAL)
            except TrackError as caught:
                error = caught
            yield DecodeResult(identity, time.monotonic() - started, track, error)


class FakeEncoder:
    """Returns a window's first numbers as its vector, unless `answer` has another.

    `before` is called before each batch; `batches` holds how many windows each had.
    """

    device = "cpu"
    precision = "float32"

    def __init__(
        self,
        tracks_per_batch: int = 1,
        answer: Callable[[np.ndarray], np.ndarray | TrackError] = lambda window: window[:D].copy(),
        before: Callable[[], object] = lambda: None,
    ) -> None:
        self.tracks_per_batch = tracks_per_batch
        self._answer = answer
        self._before = before
        self.batches: list[int] = []
        self.lengths: list[Sequence[int] | None] = []

    @property
    def windows_seen(self) -> int:
        """How many windows it was given in all."""
        return sum(self.batches)

    def encode(
        self,
        windows: Sequence[np.ndarray],
        *,
        lengths: Sequence[int] | None = None,
        all_layers: bool = False,
    ) -> list[WindowEmbedding | TrackError]:
        self._before()
        self.lengths.append(lengths)
        self.batches.append(len(windows))
        found: list[WindowEmbedding | TrackError] = []
        for window in windows:
            outcome = self._answer(window)
            if isinstance(outcome, TrackError):
                found.append(outcome)
            else:
                layers = np.stack([outcome] * (LAYERS + 1)) if all_layers else None
                found.append(WindowEmbedding(outcome, layers))
        return found


def no_encoder() -> FakeEncoder:
    """Stand where a model must not be loaded."""
    raise AssertionError("the model was loaded")
