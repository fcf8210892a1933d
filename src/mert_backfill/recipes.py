"""The recipes: what turns a track into a vector, each choice said once.

The code computes from these values, and a profile's identity (`mert_backfill.store.profile`) is
built from the same: whoever changes one changes the vectors and the name of the store they go to.
What differs between recipes is a field of `Recipe`; what all have in common is a constant. A new
recipe is a row of `RECIPES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

WindowName = Literal["intro", "core", "late"]
WINDOW_NAMES: tuple[WindowName, ...] = ("intro", "core", "late")

# What MERT v1 takes. The loader refuses a model that takes anything else.
SAMPLE_RATE = 24_000  # Hz
RECEPTIVE_FIELD = 400  # samples at that rate that its convolutions need for one frame
NORMALISE = True  # each window to zero mean and unit variance

RESAMPLING = "soxr_hq"  # as librosa and soxr call it
VECTOR_DTYPE = "float16"  # as numpy calls it

# What the code has one way of, in words: to be changed together with it.
ONE_WAY = {
    "channels": "mean",
    "layer": "last, after the final layer norm",
    "decoder": "libsndfile; PyAV for what it cannot read",
}


class Pooling(StrEnum):
    """How a track's vector is made of the frames of its windows."""

    EACH_WINDOW = "mean over time, then unweighted mean over the windows"
    PADDED = (
        "windows filled up with zeros to the track's longest, behind an attention mask; mean over "
        "all frames, the filling's too, then unweighted mean over the windows"
    )


@dataclass(frozen=True)
class WindowRule:
    """Which seconds of the kept sound become windows; `mert_backfill.audio.windows` follows it.

    Attributes
    ----------
    whole_below : int
        A track shorter than this is one window (in seconds, as all below but `loud`).
    long_from : int
        From this length on core is `long_core` long, below it `short_core`. Core lies around
        the middle.
    short_core, long_core : int
        Length of core.
    intro : int
        Length of intro, which starts at the first sample above `loud`.
    loud : float
        What ``|y|`` must exceed to end the leading silence.
    late_from_end : int
        Late starts this long before the end,
    late_after_core : int
        but no sooner than this after the end of core,
    late_to_end : int
        and ends this long before the end.
    longer_than : int
        A window is kept if it is longer than this.
    fallback : int
        Where none is left, the track's first seconds are the window.
    """

    whole_below: int
    long_from: int
    short_core: int
    long_core: int
    intro: int
    loud: float
    late_from_end: int
    late_after_core: int
    late_to_end: int
    longer_than: int
    fallback: int

    def identity(self) -> dict[str, Any]:
        """Return the rule as ``profile.json`` says it."""
        return {
            "whole_below": self.whole_below,
            "long_from": self.long_from,
            "core": {
                "short": self.short_core,
                "long": self.long_core,
                "centred_on": "half of the kept length",
            },
            "intro": {
                "length": self.intro,
                "from": "first sample above",
                "threshold": self.loud,
            },
            "late": {
                "from_end": self.late_from_end,
                "after_core": self.late_after_core,
                "to_end": self.late_to_end,
            },
            "kept_if_longer_than": self.longer_than,
            "fallback": self.fallback,
        }


@dataclass(frozen=True)
class Recipe:
    """A way from a track to its vector; vectors of two recipes do not compare.

    Attributes
    ----------
    name : str
        As ``embedding.profile`` in the configuration, and at the start of the store's name.
    kept_seconds : int
        How much of the start of a track is used.
    windows : WindowRule or None
        Which parts of that; None where all of it is one window.
    pooling : Pooling
        How one vector is made of them.
    """

    name: str
    kept_seconds: int
    windows: WindowRule | None
    pooling: Pooling

    @property
    def is_padded(self) -> bool:
        """Whether a track's windows are filled up to the longest of them."""
        return self.pooling is Pooling.PADDED

    def identity(self) -> dict[str, Any]:
        """Return every choice that changes numbers, but for the model itself."""
        return {
            "sample_rate": SAMPLE_RATE,
            "normalisation": "zero mean, unit variance" if NORMALISE else "none",
            "channels": ONE_WAY["channels"],
            "kept_seconds": self.kept_seconds,
            "windows": self.windows.identity() if self.windows else "one, of all that is kept",
            "layer": ONE_WAY["layer"],
            "pooling": self.pooling.value,
            "dtype": VECTOR_DTYPE,
            "decoder": ONE_WAY["decoder"],
            "resampler": f"librosa {RESAMPLING}",
        }


THREE_WINDOWS = WindowRule(
    whole_below=80,
    long_from=140,
    short_core=40,
    long_core=60,
    intro=10,
    loud=1e-4,
    late_from_end=15,
    late_after_core=5,
    late_to_end=5,
    longer_than=1,
    fallback=10,
)
CANONICAL = Recipe(
    name="canonical", kept_seconds=120, windows=THREE_WINDOWS, pooling=Pooling.EACH_WINDOW
)
PADDED = Recipe(name="padded", kept_seconds=120, windows=THREE_WINDOWS, pooling=Pooling.PADDED)
WHOLE = Recipe(name="whole", kept_seconds=120, windows=None, pooling=Pooling.EACH_WINDOW)
RECIPES = {recipe.name: recipe for recipe in (CANONICAL, PADDED, WHOLE)}
