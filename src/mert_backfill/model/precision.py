"""Proof that a lower precision gives the same vectors, on windows of the library itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mert_backfill.errors import UserError
from mert_backfill.failures import TrackError
from mert_backfill.model.embedding import WindowEmbedding
from mert_backfill.system.locks import hold_lock
from mert_backfill.system.tables import read_json, write_json

logger = logging.getLogger(__name__)

GUARD_WINDOWS = 24
GUARD_SECONDS = 10  # of each window: enough to tell, and quick on a CPU

# |difference| over the distance from the mean of all. bfloat16 comes to 0.05 to 0.11, rounding to
# float16 to 0.008; above 0.15 calibration, too, holds two vectors for those of two recipes.
LARGEST_DISTANCE = 0.15
# Noise of a distance of 0.11 leaves 0.94 of the 10 nearest, 0.15 leaves 0.91, 0.3 leaves 0.85.
SMALLEST_OVERLAP = 0.88
SMALLEST_COSINE = 0.999
NEIGHBOURS = 10
_ENOUGH_WINDOWS = 12  # with fewer, one pair that changes places says too much
_SPREAD = 1e-4  # of its length: a vector that is nearer to the mean than this has no distance


class Encodes(Protocol):
    """What turns windows into vectors; see `mert_backfill.model.encoder.Encoder`."""

    def encode(self, windows: Sequence[np.ndarray]) -> list[WindowEmbedding | TrackError]:
        """Return one embedding, or the reason why there is none, for each window."""
        ...


@dataclass(frozen=True)
class Comparison:
    """How vectors compare with those that float32 makes of the same windows.

    Attributes
    ----------
    windows : int
        Windows compared, each of another track.
    largest_distance : float or None
        The largest |difference| over the distance of the float32 vector from the mean of all.
        None where the windows do not differ.
    neighbour_overlap : float or None
        Part of the nearest neighbours that are the same, after the mean is taken off: of the 10
        nearest, or of half of the others where there are fewer. None for a single window.
    smallest_cosine : float
        For comparison with what others tell. All vectors share a large common part, which hides
        differences in it: a cosine of 0.99999 was a tenth of the distance.
    """

    windows: int
    largest_distance: float | None
    neighbour_overlap: float | None
    smallest_cosine: float

    @property
    def told(self) -> str:
        """The comparison in words."""
        parts = [f"{self.windows} windows: smallest cosine {self.smallest_cosine:.6f}"]
        if self.largest_distance is not None:
            parts.append(f"largest difference {self.largest_distance:.3f} of the distance")
        if self.neighbour_overlap is not None:
            parts.append(f"same nearest neighbours {self.neighbour_overlap:.0%}")
        return ", ".join(parts)

    @property
    def objection(self) -> str | None:
        """Why these vectors are not those of float32; None when they are."""
        if not self.smallest_cosine >= SMALLEST_COSINE:
            return f"a cosine below {SMALLEST_COSINE}"
        if self.largest_distance is not None and not self.largest_distance <= LARGEST_DISTANCE:
            return f"a difference above {LARGEST_DISTANCE} of the distance"
        if (
            self.neighbour_overlap is not None
            and self.windows >= _ENOUGH_WINDOWS
            and not self.neighbour_overlap >= SMALLEST_OVERLAP
        ):
            return f"fewer than {SMALLEST_OVERLAP:.0%} of the nearest neighbours"
        return None


@dataclass(frozen=True)
class PrecisionCheck:
    """What was found of one precision.

    Attributes
    ----------
    profile, precision, device : str
        What was compared with float32, and what computed it: another processor, or other
        kernels on it, are another device.
    comparison : Comparison
        How the vectors compare.
    refused : str or None
        Why the precision is refused.
    """

    profile: str
    precision: str
    device: str
    comparison: Comparison
    refused: str | None


@dataclass(frozen=True)
class PrecisionRecord:
    """The content of the guard's file: what it found, by what was compared."""

    checks: tuple[PrecisionCheck, ...] = ()

    @classmethod
    def read(cls, path: Path) -> PrecisionRecord:
        """Read the record; a missing or damaged one is an empty one."""
        try:
            return cls(tuple(_check_of(values) for values in read_json(path)["checks"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def find(self, profile: str, precision: str, device: str) -> PrecisionCheck | None:
        """Return what was found of a precision, if it was checked."""
        wanted = (profile, precision, device)
        return next((c for c in self.checks if (c.profile, c.precision, c.device) == wanted), None)

    def add(self, check: PrecisionCheck) -> PrecisionRecord:
        """Return the record with one more check."""
        return PrecisionRecord((*self.checks, check))

    def write(self, path: Path) -> None:
        """Write the record atomically."""
        write_json(path, asdict(self))


def _check_of(values: Mapping[str, Any]) -> PrecisionCheck:
    return PrecisionCheck(**{**values, "comparison": Comparison(**values["comparison"])})


def compare_vectors(reference: Sequence[np.ndarray], lower: Sequence[np.ndarray]) -> Comparison:
    """Compare vectors of the same windows.

    Parameters
    ----------
    reference, lower : sequence of np.ndarray [shape=(D,)]
        Of float32, and of the lower precision: at least one each, in the same order.
    """
    one = np.stack(reference).astype(np.float64)
    other = np.stack(lower).astype(np.float64)
    mean = one.mean(axis=0)
    spread = np.linalg.norm(one - mean, axis=1)
    apart = spread > _SPREAD * np.linalg.norm(one, axis=1)
    distances = np.linalg.norm(other - one, axis=1)[apart] / spread[apart]
    return Comparison(
        windows=len(one),
        largest_distance=float(distances.max()) if apart.any() else None,
        neighbour_overlap=_overlap(one - mean, other - mean) if len(one) > 1 else None,
        smallest_cosine=float((_unit(one) * _unit(other)).sum(axis=1).min()),
    )


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
        The precision does not give the vectors of float32, now or when it was checked.
    """
    with hold_lock(record.with_suffix(".lock")):
        known = PrecisionRecord.read(record)
        check = known.find(profile, precision, device)
        if check is None:
            comparison = _compare(precision, windows(), encoder)
            if comparison is None:
                return
            check = PrecisionCheck(profile, precision, device, comparison, comparison.objection)
            known.add(check).write(record)
    told = f"{precision} against float32 on {check.comparison.told}"
    if check.refused:
        raise UserError(f"runtime.precision: {told}; {check.refused}, set it to float32")
    logger.info(told)


def _compare(
    precision: str, windows: Sequence[np.ndarray], encoder: Callable[[str], Encodes]
) -> Comparison | None:
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
    return compare_vectors(reference, lower)


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return which part of each vector's nearest ones is the same in both."""
    count = max(1, min(NEIGHBOURS, (len(one) - 1) // 2))
    pairs = zip(_nearest(_unit(one), count), _nearest(_unit(other), count), strict=True)
    return float(np.mean([len(a & b) / count for a, b in pairs]))


def _nearest(unit: np.ndarray, count: int) -> list[set[int]]:
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    order = np.argsort(-similarity, axis=1, kind="stable")
    return [set(row[:count]) for row in order.tolist()]
