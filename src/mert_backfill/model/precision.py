"""Proof that a lower precision gives the same vectors, on windows of the library itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from mert_backfill.errors import UserError
from mert_backfill.failures import TrackError
from mert_backfill.model.embedding import WindowEmbedding
from mert_backfill.system.locks import lock_file, open_lock
from mert_backfill.system.tables import read_json, write_json

logger = logging.getLogger(__name__)

GUARD_WINDOWS = 8
SMALLEST_COSINE = 0.999
GUARD_SECONDS = 10  # of each window: enough to tell, and quick on a CPU


class Encodes(Protocol):
    """What turns windows into vectors; see `mert_backfill.model.encoder.Encoder`."""

    def encode(self, windows: Sequence[np.ndarray]) -> list[WindowEmbedding | TrackError]:
        """Return one embedding, or the reason why there is none, for each window."""
        ...


@dataclass(frozen=True)
class PrecisionCheck:
    """How the vectors of one precision compare with those of float32.

    Attributes
    ----------
    profile, precision, device : str
        What was compared, and what computed it: another processor is another device.
    windows : int
        Windows compared.
    smallest_cosine : float
        Of a window's vector with that of float32.
    neighbour_overlap : float
        Part of the windows whose nearest other window is the same one in both.
    """

    profile: str
    precision: str
    device: str
    windows: int
    smallest_cosine: float
    neighbour_overlap: float


def compare_vectors(
    reference: Sequence[np.ndarray], lower: Sequence[np.ndarray]
) -> tuple[float, float]:
    """Compare vectors of the same windows.

    Parameters
    ----------
    reference, lower : sequence of np.ndarray [shape=(D,)]
        At least one each, in the same order.

    Returns
    -------
    (float, float)
        The smallest cosine, and the overlap of the nearest neighbours in [0, 1].
    """
    one, other = _unit(reference), _unit(lower)
    cosines = (one * other).sum(axis=1)
    if len(one) == 1:
        return float(cosines[0]), 1.0
    same = _nearest(one) == _nearest(other)
    return float(cosines.min()), float(same.mean())


def guard_precision(
    record: Path,
    profile: str,
    precision: str,
    device: str,
    windows: Callable[[], Sequence[np.ndarray]],
    encoder: Callable[[str], Encodes],
) -> None:
    """Check a precision before it is used for the first time; the result is kept.

    Parameters
    ----------
    record : Path
        Where results are kept. One job at a time checks, others wait for it.
    profile, precision, device : str
        What is to be used.
    windows : callable
        Returns some windows of the library [shape=(n,), float32].
    encoder : callable
        Returns an encoder for a precision.

    Raises
    ------
    UserError
        The smallest cosine is below 0.999.
    """
    with _alone(record):
        known = _read(record)
        check = known.get((profile, precision, device))
        if check is None:
            check = _check(profile, precision, device, windows(), encoder)
            if check is None:
                return
            checks = [*known.values(), check]
            write_json(record, {"checks": [asdict(one) for one in checks]})
    told = (
        f"{precision} against float32 on {check.windows} windows: smallest cosine "
        f"{check.smallest_cosine:.6f}, same nearest neighbour {check.neighbour_overlap:.0%}"
    )
    if not check.smallest_cosine >= SMALLEST_COSINE:
        raise UserError(f"runtime.precision: {told}; below {SMALLEST_COSINE}, set it to float32")
    logger.info(told)


def _check(
    profile: str,
    precision: str,
    device: str,
    windows: Sequence[np.ndarray],
    encoder: Callable[[str], Encodes],
) -> PrecisionCheck | None:
    vectors: list[list[np.ndarray]] = []
    for used in ("float32", precision):
        outcomes = encoder(used).encode(windows)
        vectors.append([o.final for o in outcomes if isinstance(o, WindowEmbedding)])
    reference, lower = vectors
    if not reference:
        return None  # nothing here can be embedded at all, in whatever precision
    if len(reference) != len(lower):
        raise UserError(
            f"runtime.precision: {precision} fails on windows that float32 embeds; use float32"
        )
    cosine, overlap = compare_vectors(reference, lower)
    return PrecisionCheck(profile, precision, device, len(reference), cosine, overlap)


def _read(record: Path) -> dict[tuple[str, str, str], PrecisionCheck]:
    """Return the results that are kept, by what was compared."""
    try:
        checks = [PrecisionCheck(**check) for check in read_json(record)["checks"]]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {(check.profile, check.precision, check.device): check for check in checks}


@contextmanager
def _alone(record: Path) -> Iterator[None]:
    path = record.with_suffix(".lock")
    with open_lock(path) as lock:
        lock_file(lock.fileno(), path, wait=True)
        yield


def _unit(vectors: Sequence[np.ndarray]) -> np.ndarray:
    stacked = np.stack(vectors).astype(np.float64)
    return stacked / np.linalg.norm(stacked, axis=1, keepdims=True)


def _nearest(unit: np.ndarray) -> np.ndarray:
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    return similarity.argmax(axis=1)
