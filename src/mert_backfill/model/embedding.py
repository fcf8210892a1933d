"""What comes out of the model, as plain values: known where torch is not imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mert_backfill import recipes
from mert_backfill.failures import TrackError


class DeviceLostError(Exception):
    """The accelerator's context is unusable; only a new process can go on."""


@dataclass(frozen=True, eq=False)
class WindowEmbedding:
    """What the model makes of one window.

    Attributes
    ----------
    final : np.ndarray [shape=(D,), dtype=float32]
        The last hidden state, after the final layer norm, averaged over time.
    layers : np.ndarray [shape=(layers + 1, D), dtype=float32], or None
        The same of each layer: row k is what enters layer k, the last row equals `final`.
    """

    final: np.ndarray
    layers: np.ndarray | None = None


def track_vector(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return a track's vector: the unweighted mean of its windows' vectors.

    Parameters
    ----------
    parts : sequence of np.ndarray [shape=(D,), dtype=float32]
        At least one.

    Returns
    -------
    np.ndarray [shape=(D,), dtype=float16]
        The mean is taken in float32.
    """
    mean: np.ndarray = np.stack(parts).mean(axis=0, dtype=np.float32)
    return mean.astype(recipes.VECTOR_DTYPE)


class WindowEncoder(Protocol):
    """What turns windows into vectors; see `mert_backfill.model.encoder.Encoder`."""

    device: str
    precision: str
    tracks_per_batch: int

    def encode(
        self,
        windows: Sequence[np.ndarray],
        *,
        lengths: Sequence[int] | None = None,
        all_layers: bool = False,
    ) -> list[WindowEmbedding | TrackError]:
        """Return one embedding, or the reason why there is none, for each window."""
        ...
