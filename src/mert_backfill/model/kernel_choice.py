"""The kernels that were chosen for a model on a processor: tried once, and kept.

A choice that changed from one chunk to the next would change the last bits of vectors with it.
`mert_backfill.model.kernels` does the trying; here torch is not imported.
"""

from __future__ import annotations

import json
import logging
import math
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from mert_backfill.system.children import python_command, python_environment
from mert_backfill.system.locks import hold_lock
from mert_backfill.system.tables import read_json, write_json

logger = logging.getLogger(__name__)

# Largest error, over the largest value. Of the ways known float32's is 5e-7 (1.3e-6 on a Zen 5),
# TensorFloat-32's 5e-4, bfloat16's 4e-3.
TOLERANCES = {"float32": 5e-6, "bfloat16": 2e-2}
# A way is taken if it needs at most this part of torch's time, so that noise never decides.
WORTH_IT = 0.75
# Below this the products are too small to be timed, and to matter.
_SMALLEST_PRODUCT = 500_000
_TRIAL = "mert_backfill.model.kernels"
_TRIAL_TIMEOUT_S = 300.0

Part = Literal["linear", "attention"]


class Way(StrEnum):
    """How a part of the model is computed on a CPU.

    TORCH is torch's own choice in the run's precision; ONEDNN oneDNN's float32; FLOAT32 torch's
    float32 in a run of a lower precision.
    """

    TORCH = "torch"
    ONEDNN = "oneDNN"
    FLOAT32 = "torch float32"


@dataclass(frozen=True)
class Kernels:
    """How the linear layers and the attention of a model are computed."""

    linear: Way = Way.TORCH
    attention: Way = Way.TORCH

    @property
    def name(self) -> str:
        """What is not torch's own way, in words; empty where all is."""
        parts = {"linear layers": self.linear, "attention": self.attention}
        return ", ".join(f"{part} by {way}" for part, way in parts.items() if way is not Way.TORCH)


PLAIN = Kernels()


@dataclass(frozen=True)
class Shape:
    """Of the heavy parts of a model: its width, its heads, the width of its inner layers."""

    hidden: int
    heads: int
    inner: int

    @classmethod
    def of(cls, architecture: Mapping[str, Any]) -> Shape:
        """Return the shape of an architecture."""
        return cls(
            architecture["hidden_size"],
            architecture["num_attention_heads"],
            architecture["intermediate_size"],
        )


@dataclass(frozen=True)
class Trial:
    """How one way did.

    Attributes
    ----------
    part, way : str
        What was computed, and how.
    seconds : float
        The best processor time of a call.
    error : float
        The largest error over the largest value.
    """

    part: Part
    way: Way
    seconds: float
    error: float


@dataclass(frozen=True)
class KernelChoice:
    """What was chosen, for what, and by which trials.

    Attributes
    ----------
    processor, torch, precision : str
        The processor's make, torch's version, the run's precision.
    shape : Shape
        Of the model.
    kernels : Kernels
        What was chosen.
    trials : tuple of Trial
        What it was chosen by; empty when they could not be made.
    """

    processor: str
    torch: str
    precision: str
    shape: Shape
    kernels: Kernels
    trials: tuple[Trial, ...]

    @property
    def told(self) -> str:
        """The choice on one line."""
        found = {(trial.part, trial.way): trial for trial in self.trials}
        parts = []
        ways: dict[Part, Way] = {
            "linear": self.kernels.linear,
            "attention": self.kernels.attention,
        }
        for part, way in ways.items():
            trial, plain = found.get((part, way)), found.get((part, Way.TORCH))
            if way is Way.TORCH or trial is None or plain is None:
                parts.append(f"{part} by {way}")
            else:
                times = plain.seconds / trial.seconds
                parts.append(
                    f"{part} by {way} ({times:.2f} times as fast, error {trial.error:.1e})"
                )
        return f"{self.precision} on {self.processor}: {', '.join(parts)}"


def choose_kernels(trials: Sequence[Trial], precision: str) -> Kernels:
    """Return the fastest right way of each part, where it gains enough over torch's own."""
    return Kernels(
        *(
            _choose_way([trial for trial in trials if trial.part == part], TOLERANCES[precision])
            for part in ("linear", "attention")
        )
    )


def _choose_way(trials: Sequence[Trial], tolerance: float) -> Way:
    right = [trial for trial in trials if trial.error <= tolerance]
    plain = next((trial for trial in right if trial.way is Way.TORCH), None)
    limit = WORTH_IT * plain.seconds if plain else math.inf
    return min(
        (trial for trial in right if trial.seconds <= limit),
        key=lambda trial: trial.seconds,
        default=Trial("linear", Way.TORCH, 0, 0),
    ).way


def try_in_a_process(shape: Shape, precision: str) -> list[Trial]:
    """Try the kernels in a process of its own; an empty list if it fails, whatever the cause."""
    sizes = (shape.hidden, shape.heads, shape.inner)
    try:
        done = subprocess.run(
            [*python_command(_TRIAL), precision, *map(str, sizes)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=python_environment(_TRIAL),
            timeout=_TRIAL_TIMEOUT_S,
            check=True,
        )
        return [_trial(values) for values in json.loads(done.stdout)]
    except (OSError, subprocess.SubprocessError, ValueError, TypeError, KeyError) as error:
        logger.warning("the kernels could not be tried (%s); torch's own are used", error)
        return []


def find_kernels(
    record: Path,
    shape: Shape,
    precision: str,
    *,
    processor: str,
    torch: str,
    try_kernels: Callable[[Shape, str], Sequence[Trial]] = try_in_a_process,
) -> Kernels:
    """Return the kernels for a model on this processor; tried the first time, then remembered.

    Parameters
    ----------
    record : Path
        Where choices are kept. One job at a time tries, others wait for it.
    shape : Shape
        Of the model; a small one is not worth the trial.
    precision : str
        float32 or bfloat16.
    processor, torch : str
        The processor's make and torch's version: another of either is tried anew.
    try_kernels : callable
        Makes the trials.
    """
    if shape.hidden * shape.inner < _SMALLEST_PRODUCT:
        return PLAIN
    with hold_lock(record.with_suffix(".lock")):
        choices = _read(record)
        wanted = (processor, torch, precision, shape)
        choice = next((one for one in choices if _key(one) == wanted), None)
        if choice is None:
            trials = tuple(try_kernels(shape, precision))
            choice = KernelChoice(*wanted, choose_kernels(trials, precision), trials)
            write_json(record, {"choices": [asdict(one) for one in (*choices, choice)]})
    logger.info(choice.told)
    return choice.kernels


def _key(choice: KernelChoice) -> tuple[str, str, str, Shape]:
    return choice.processor, choice.torch, choice.precision, choice.shape


def _read(record: Path) -> list[KernelChoice]:
    """Return the choices that are kept; none where the record is missing or damaged."""
    try:
        return [_choice(values) for values in read_json(record)["choices"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _choice(values: Mapping[str, Any]) -> KernelChoice:
    return KernelChoice(
        processor=values["processor"],
        torch=values["torch"],
        precision=values["precision"],
        shape=Shape(**values["shape"]),
        kernels=Kernels(**{part: Way(way) for part, way in values["kernels"].items()}),
        trials=tuple(_trial(trial) for trial in values["trials"]),
    )


def _trial(values: Mapping[str, Any]) -> Trial:
    return Trial(**{**values, "way": Way(values["way"])})
