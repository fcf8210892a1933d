"""What tests of every kind ask: how something was refused, and what was logged."""

from __future__ import annotations

import contextlib
import logging.handlers
import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest

from mert_backfill.errors import UserError


def refusal(action: Callable[[], object]) -> str:
    """Return the one line with which an action is refused."""
    with pytest.raises(UserError) as refused:
        action()
    line = str(refused.value)
    assert "\n" not in line
    return line


@contextlib.contextmanager
def heard(logger: logging.Logger) -> Iterator[queue.SimpleQueue[logging.LogRecord]]:
    """Collect what a logger says, for another thread to wait for."""
    said: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(said)
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)


def read_frame(path: Path, **options: Any) -> pandas.DataFrame:
    """Read a TSV file with pandas as a user would whose names are not all UTF-8.

    Where pyarrow is installed, pandas keeps text in its strings, which hold UTF-8 only.
    """
    with pandas.option_context("mode.string_storage", "python"):
        return pandas.read_csv(
            path, sep="\t", encoding="utf-8", encoding_errors="surrogateescape", **options
        )
