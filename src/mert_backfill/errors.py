"""Errors that are meant for the user."""

from __future__ import annotations

import unicodedata


class UserError(Exception):
    """Bad input, configuration or environment, told in one line.

    The message names the culprit (file or config key) and the cure. Whoever catches it at
    the top (a Snakefile, a job script) prints the line without a traceback and exits with a
    code that is not 0.
    """

    def __init__(self, message: str) -> None:
        super().__init__(visible(" ".join(message.split())))


def visible(text: str) -> str:
    """Return `text` with everything escaped that cannot be seen or is not Unicode text.

    What a file, a tag or a model is called may hold control codes, which a terminal would obey.
    """
    return "".join(
        letter
        if letter.isprintable() or unicodedata.category(letter) == "Zs"
        else letter.encode("unicode_escape").decode()
        for letter in text
    )


def one_line(error: BaseException) -> str:
    """Return ``Type: message`` of an error on a single line of at most 500 characters."""
    text = visible(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}"[:500] if text else type(error).__name__
