"""An encoder that ends its process in the way that the variable DEADLY says.

DEADLY is a JSON object: ``lengths`` of the windows that are deadly (in samples), ``how``
(the name of a signal, ``all`` to take the supervisor along, ``device``, or ``start``),
``times`` (how often at most) and ``marks``, the folder in which deaths are counted.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mert_backfill.failures import TrackError
from mert_backfill.model.embedding import DeviceLostError, WindowEmbedding
from support.fakes import FakeEncoder

_ORDERS = json.loads(os.environ["DEADLY"])


def choose_device(requested: str) -> str:
    return "cpu"


def processor_name(device: str) -> str:
    return "a processor"


class Encoder(FakeEncoder):
    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__(tracks_per_batch=4)
        if _ORDERS["how"] == "start":
            os.kill(os.getpid(), signal.SIGKILL)

    def encode(
        self,
        windows: Sequence[np.ndarray],
        *,
        lengths: Sequence[int] | None = None,
        all_layers: bool = False,
    ) -> list[WindowEmbedding | TrackError]:
        marks = Path(_ORDERS["marks"])
        deaths = len(os.listdir(marks))
        deadly = any(len(window) in _ORDERS["lengths"] for window in windows)
        if deadly and deaths < _ORDERS["times"]:
            (marks / str(deaths)).touch()
            if _ORDERS["how"] == "device":
                raise DeviceLostError("CUDA error: unspecified launch failure")
            if _ORDERS["how"] == "all":
                os.kill(os.getppid(), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.Signals[_ORDERS["how"]])
        return super().encode(windows, lengths=lengths, all_layers=all_layers)
