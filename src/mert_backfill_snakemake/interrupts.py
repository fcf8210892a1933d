"""Ctrl-C, from the moment that profiles/default is read: one sentence, and no traceback."""

from __future__ import annotations

import sys
from types import TracebackType

from mert_backfill.health.status_words import stopped


def end_without_traceback(sentence: str = "") -> None:
    """Have a Ctrl-C that Snakemake does not hear itself end the call with a sentence, or nothing.

    Parameters
    ----------
    sentence : str
        By default nothing: who calls this has more to say than can be known here.
    """

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        elif sentence:
            print(sentence, file=sys.stderr)

    sys.excepthook = hook


def end_in_a_sentence() -> None:
    """Do so while nothing is known of the run yet."""
    end_without_traceback(stopped(None))
