"""What tests of every kind ask: how something was refused, and what was logged."""

from __future__ import annotations

import contextlib
import logging.handlers
import queue
from collections.abc import Callable, Iterator

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
