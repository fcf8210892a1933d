"""Mistakes in ``--config`` and ``--configfile``, told in one line before Snakemake reads them.

Snakemake reads both before any Snakefile, and its own words for a mistake are a traceback or name
neither file nor line. profiles/default, which is read earlier still, calls this.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mert_backfill.config import SHORT_NAMES
from mert_backfill.config_file import check_config_files, read_config_file
from mert_backfill.errors import UserError

_FILES = ("--configfile", "--configfiles")
_ENTRIES = ("--config", "-C")
_ENDINGS = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class _Words:
    """A command line, by where its words go: both options take all words up to the next option."""

    files: list[str] = field(default_factory=list)
    entries: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def with_target(self, target: str) -> str:
        """Return the whole command with a misplaced target in its right place."""
        words = ["snakemake", *self.others, target]
        for option, values in ((_ENTRIES[0], self.entries), (_FILES[0], self.files)):
            kept = [value for value in values if value != target]
            words += [option, *kept] if kept else []
        return shlex.join(words)


def exit_on_mistakes(words: Sequence[str]) -> None:
    """Do as `check_arguments`; a mistake ends the process with one line."""
    try:
        check_arguments(words)
    except UserError as error:
        sys.exit(f"error: {error}")


def check_arguments(words: Sequence[str]) -> None:
    """Refuse what Snakemake would not explain.

    Parameters
    ----------
    words : sequence of str
        The command line, without the name of the program.

    Raises
    ------
    UserError
        A target stands where a file or a key is expected, a key is written with dots, or a config
        file is missing or no YAML; names the cure.
    """
    split = _split(words)
    for file in split.files:
        if os.path.exists(file):
            check_config_files([file])
        elif Path(file).suffix in _ENDINGS:
            read_config_file(file)  # says that it is not there
        else:
            raise _misplaced(file, _FILES[0], "files", split)
    for entry in split.entries:
        _check_entry(entry, split)


def _split(words: Sequence[str]) -> _Words:
    split = _Words()
    taking = split.others
    for word in words:
        option, equals, value = word.partition("=")
        known = split.files if option in _FILES else split.entries if option in _ENTRIES else None
        if known is not None:
            taking = split.others if equals else known
            known.extend([value] if equals else [])
        elif word.startswith("-"):
            taking = split.others
            taking.append(word)
        else:
            taking.append(word)
    return split


def _check_entry(entry: str, split: _Words) -> None:
    name, equals, value = entry.partition("=")
    if not equals:
        if name in SHORT_NAMES:
            raise UserError(f"--config {name} has no value; write {name}=VALUE")
        raise _misplaced(entry, _ENTRIES[0], "keys", split)
    section, *keys = name.split(".")
    if keys and all(re.fullmatch(r"\w+", part) for part in (section, *keys)):
        short = {path: short for short, path in SHORT_NAMES.items()}.get((section, *keys))
        nested = value or "null"
        for key in reversed(keys):
            nested = f"{{{key}: {nested}}}"
        cure = f"{short}={value}" if short else f"{section}={nested}"
        raise UserError(
            f"--config {entry}: a key within a section is not written with a dot here; write "
            f"--config {shlex.quote(cure)}"
        )


def _misplaced(word: str, option: str, what: str, split: _Words) -> UserError:
    return UserError(
        f"{word} stands behind {option}, which takes all words that follow it for {what}; a target "
        f"goes before it: {split.with_target(word)}"
    )
