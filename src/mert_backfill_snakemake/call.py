"""What a call of Snakemake is for, and what it was called with."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mert_backfill.config import SHORT_NAMES
from mert_backfill.hints import UNKNOWN, Caller
from mert_backfill.system.machine import usable_cpus

# flags of calls that show something and run no job
_SHOWING = (
    "dryrun",
    "report",
    "dag",
    "rulegraph",
    "filegraph",
    "d3dag",
    "summary",
    "detailed_summary",
    "list_changes",
    "list_input_changes",
    "list_params_changes",
    "list_untracked",
    "list_conda_envs",
    "archive",
    # these change what Snakemake remembers, and no file of ours but its times
    "touch",
    "cleanup_metadata",
    "unlock",
)
# flags of calls that need nothing but the rules
_READING_RULES = ("lint", "list_rules", "list_target_rules", "print_compilation")


@dataclass(frozen=True)
class Call:
    """What a command line asks for.

    Attributes
    ----------
    reads_rules : bool
        Nothing but the rules is needed.
    shows : bool
        Something is shown, and no job runs.
    is_preview : bool
        What is shown are the jobs that would run.
    targets : frozenset of str
        The rules and files that are named.
    caller : Caller
        What each command that is told has to repeat.
    """

    reads_rules: bool = False
    shows: bool = False
    is_preview: bool = False
    targets: frozenset[str] = frozenset()
    caller: Caller = UNKNOWN


def read_call() -> Call:
    """Read the command line; the empty call where Snakemake is used as a library."""
    from snakemake.cli import parse_args

    try:
        with contextlib.redirect_stderr(io.StringIO()):  # Snakemake has told of its profiles once
            flags = vars(parse_args(sys.argv[1:])[1])
    except (Exception, SystemExit):
        return Call()
    return call_of(flags)


def call_of(flags: Mapping[str, Any]) -> Call:
    """Return what parsed flags ask for; flags that Snakemake does not know are not set."""
    return Call(
        reads_rules=any(flags.get(name) for name in _READING_RULES),
        shows=any(flags.get(name) for name in _SHOWING),
        is_preview=bool(flags.get("dryrun")),
        targets=frozenset(flags.get("targets") or ()),
        caller=_caller_of(flags),
    )


def _caller_of(flags: Mapping[str, Any]) -> Caller:
    options = {
        "-s": [flags.get("snakefile")],
        "--directory": [flags.get("directory")],
        "--profile": flags.get("profile") or [],
        "--workflow-profile": [flags.get("workflow_profile")],
    }
    given = ((name, value) for name, values in options.items() for value in values if value)
    runs_elsewhere = flags.get("jobs") is not None
    return Caller(
        cores=flags.get("cores") or (None if runs_elsewhere else usable_cpus()),
        options=tuple(str(word) for pair in given for word in pair),
        files=tuple(map(str, flags.get("configfile") or ())),
        entries=tuple(
            entry
            for entry in map(str, flags.get("config") or ())
            if entry.partition("=")[0] not in SHORT_NAMES  # those are for one run
        ),
    )
