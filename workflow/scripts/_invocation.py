"""What a call of Snakemake does before its rules are read: configuration, lock, preview."""

from __future__ import annotations

import atexit
import logging
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _common import model_profile
from mert_backfill.config import load_settings
from mert_backfill.errors import UserError
from mert_backfill.model.source import fetch_model
from mert_backfill.plan.chunks import discard_plan
from mert_backfill.plan.preview import Preview, take_preview
from mert_backfill.settings import Settings
from mert_backfill.store.profile import Profile
from mert_backfill.system.session import start_remote_job, start_run

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
)
_ROOM_BYTES = 2**20
# flags of calls that need nothing but the rules
_READING_RULES = ("lint", "list_rules", "list_target_rules", "print_compilation")


@dataclass(frozen=True)
class Start:
    """What the rules need to know; there is no preview inside a job on a cluster node."""

    settings: Settings
    profile: Profile
    preview: Preview | None

    @property
    def library(self) -> list[str]:
        """The parameter that makes the library be scanned again when it changes."""
        return [self.preview.key, self.preview.fingerprint] if self.preview else []


def start_invocation(workflow: Any, config: Mapping[str, Any]) -> Start | None:
    """Validate the configuration, take the lock, preview the library and tell what is to do.

    Returns
    -------
    Start or None
        None for calls that only read the rules, such as ``snakemake --lint``.

    Raises
    ------
    UserError
        The configuration or what it names cannot be used, or another run is at work.
    """
    flags = _flags() if workflow.is_main_process else {}
    if any(flags.get(name) for name in _READING_RULES):
        return None
    if workflow.is_main_process:
        _make_demo_at_first_use(config)
    given = workflow.config_settings.overwrite_config if workflow.is_main_process else None
    settings = load_settings(config, Path.cwd(), given=given)
    if not workflow.is_main_process:
        if workflow.remote_exec:
            start_remote_job()
        return Start(settings, model_profile(settings), None)
    shows = any(flags.get(name) for name in _SHOWING)
    if not shows:
        _be_ready_for_a_full_disk()
        start_run(settings.results)
        fetch_model(settings.model)  # once, before the chunks start; a folder stays as it is
    profile = model_profile(settings, keep_hash=not shows)  # a preview on fresh results writes none
    publishing = "publish" in flags.get("targets", ())
    preview = take_preview(settings, profile, frozen=publishing)
    if not (shows or preview.plan_holds):
        discard_plan(settings.results)
    if flags.get("dryrun"):  # below the list of jobs, where it is seen
        atexit.register(print, preview, file=sys.stderr)
    else:
        print(preview, file=sys.stderr)
    return Start(settings, profile, preview)


def _be_ready_for_a_full_disk() -> None:
    """Refuse to start on one, and keep Snakemake's log from burying the error if one fills up."""
    logging.raiseExceptions = False  # else a traceback for each line that the log has no room for
    folder = Path.cwd()  # of Snakemake's own files
    free = shutil.disk_usage(folder).free
    if free < _ROOM_BYTES:
        raise UserError(
            f"{folder}: the disk is full ({free // 1024} KiB are free); free some space and run "
            "the same command again"
        )


def _make_demo_at_first_use(config: Mapping[str, Any]) -> None:
    """Make the demo that a fresh checkout is configured for, so that its first call has music."""
    try:
        roots = [root["path"] for root in config["library"]["roots"]]
        used = {*roots, config["model"]["name"]} & {"demo/music", "demo/mert"}
    except (KeyError, TypeError):  # for the schema to refuse
        return
    if len(used) < 2:
        return
    from mert_backfill.demo.library import MARKER, make_demo  # imports decoders

    if not Path("demo", MARKER).exists():
        print("first use: making the demo library and the demo model in demo/", file=sys.stderr)
        make_demo("demo")


def _flags() -> Mapping[str, Any]:
    """Return the parsed command line; empty when Snakemake is used as a library."""
    from snakemake.cli import parse_args

    try:
        return vars(parse_args(sys.argv[1:])[1])
    except (Exception, SystemExit):
        return {}
