"""What a call of Snakemake does before its rules are read.

 1. A call that only reads the rules (``--lint``, ``--list-rules``) needs none of what follows.
 2. Jobs get a Python whose path the shell leaves whole.
 3. A job on a cluster's node reads the configuration, ties what it starts to itself, and is done
    here.
 4. What is seen from here on is for people, and the commands that are told get the options of this
    call. A checkout in whose path Snakemake would find wildcards is refused, and so is a module
    whose prefix moves the results.
 5. A fresh checkout gets the demo that it is configured for.
 6. The configuration is validated.
 7. Results of another library are refused.
 8. A run, not a preview: the disk must have room for Snakemake's own files, and let it set their
    permissions;
 9. the results folder is locked, and the orphans of a killed run have ended; where the demo was
    before, its results make room;
10. the model is downloaded, once, before the chunks start.
11. The model is inspected: the profile says which vectors count.
12. The library is listed, and what is to do is told. A run that would make a library's vectors
    again by another model is refused, unless that is asked for.
13. A run puts the library's name on the results, and keeps what was found out. If its plan no
    longer holds it loses that, so that the library is scanned again, whatever Snakemake remembers;
    a preview, which changes nothing, has Snakemake list the scan.
14. A calibration that is due or asked for is opened, with the plan that has to wait for it.
15. On one machine a GPU is given to one job at a time.
"""

from __future__ import annotations

import atexit
import logging
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mert_backfill.chunk.job import HARMONY_MB, MEMORY_MB
from mert_backfill.demo import MARKER
from mert_backfill.errors import UserError, one_line
from mert_backfill.hints import Caller, announce_caller, current_caller
from mert_backfill.model.source import fetch_model
from mert_backfill.plan.chunks import discard_plan
from mert_backfill.plan.guess import Guess, guess_seconds
from mert_backfill.plan.ownership import (
    check_owner,
    check_room_for_demo,
    is_left_by_demo,
    set_demo_aside,
)
from mert_backfill.plan.preview import Preview, take_preview
from mert_backfill.records.preflight import device_found
from mert_backfill.records.speed import read_speed
from mert_backfill.results import Results
from mert_backfill.settings import Settings
from mert_backfill.store.profile import Profile
from mert_backfill.system.atomic import TEMPORARY_PREFIX, set_mode
from mert_backfill.system.machine import wants_gpu
from mert_backfill.system.session import start_remote_job, start_run
from mert_backfill_snakemake.call import Call, read_call
from mert_backfill_snakemake.objects import Workflow
from mert_backfill_snakemake.rules import chunks_at_a_time
from mert_backfill_snakemake.screen.run import open_screen
from mert_backfill_snakemake.settings import model_profile, read_settings

_PYTHON = sys.executable
_CHECKOUT = Path(__file__).parents[2]
_ROOM_BYTES = 2**20
# rules that stay with the results that there are, and leave the plan alone; and others that embed
# nothing
_BESIDE_THE_PLAN = ("publish", "unpublish", "triage", "tidy", "untidy", "atlas")
_ATLAS = ("atlas", "atlas_files")
_CALIBRATE = ("calibrate",)
_EMBEDDING_NOTHING = (*_BESIDE_THE_PLAN, "verify", "recheck")
_DEMO = Path("demo")
_DEMO_PATHS = {"demo/music", "demo/mert"}


@dataclass(frozen=True)
class Start:
    """What the rules need to know; there is no preview inside a job on a cluster's node."""

    settings: Settings
    profile: Profile
    preview: Preview | None
    asks_for_atlas: bool = False
    # an input of the scan: what is newer has Snakemake list it in a preview, whatever it remembers;
    # a run takes the old plan away instead
    newer_than_a_scan: Sequence[str] = ()

    @property
    def library(self) -> list[str]:
        """The parameter that makes the library be scanned again when it changes."""
        return [self.preview.key, self.preview.fingerprint] if self.preview else []

    @property
    def live_mark(self) -> list[str]:
        """The parameter that makes publish look again: the live meta.json, and where vectors go."""
        meta = self.settings.meta
        try:
            status = os.stat(meta.baseline) if meta.baseline else None
        except OSError:  # for publish to tell
            status = None
        mark = f"{status.st_size} {status.st_mtime_ns}" if status else ""
        return [str(meta.baseline), mark, str(meta.publish_embeddings_to)]

    @property
    def memory_mb(self) -> int:
        """What a chunk needs."""
        harmony = HARMONY_MB if "harmonic" in self.settings.embedding.sidecars else 0
        return MEMORY_MB[self.profile.recipe.name] + harmony

    @property
    def calibrates(self) -> bool:
        """Whether the plan waits for a calibration; once it did, it always does."""
        if self.settings.meta.baseline is None:
            return False
        is_due = self.preview is not None and self.preview.calibration.is_due
        return is_due or self.settings.results.calibrated.exists()

    @property
    def gpu_units(self) -> int:
        """1 where a job holds a GPU: asked again for each job, since preflight asks torch."""
        found, found_at = device_found(self.settings.results)
        return int(wants_gpu(self.settings.runtime.device, found=found, found_at=found_at))


def start_or_exit(workflow: Workflow, config: Mapping[str, Any]) -> Start | None:
    """Do as `start_invocation`; an error ends the process with one line."""
    try:
        return start_invocation(workflow, config)
    except UserError as error:
        sys.exit(f"error: {error}")


def start_invocation(workflow: Workflow, config: Mapping[str, Any]) -> Start | None:
    """Do what is listed at the top of this module.

    Returns
    -------
    Start or None
        None for calls that only read the rules.

    Raises
    ------
    UserError
        The configuration or what it names cannot be used, or another run is at work.
    """
    _quote_the_interpreter()
    if not workflow.is_main_process:
        settings = read_settings(config)
        if workflow.remote_exec:
            start_remote_job()
        return Start(settings, model_profile(settings), None)
    call = read_call()
    if call.reads_rules:
        return None
    screen = open_screen(workflow, call)
    _announce(call.caller, workflow)
    _check_the_places(workflow)
    _make_demo_at_first_use(config)
    settings = read_settings(config, given=workflow.config_settings.overwrite_config)
    check_owner(settings)
    at_a_time = chunks_at_a_time(workflow, settings)
    if not call.shows:
        _be_ready_for_a_full_disk()
        _check_permissions_can_be_set()
        start_run(settings.results, chunks_at_a_time=at_a_time)
        _make_room(settings, at_a_time)
        fetch_model(settings.model)  # a folder stays as it is
    profile = model_profile(settings, keep_hash=not call.shows)  # a preview writes nothing
    frozen = _asks_for(_BESIDE_THE_PLAN, call, workflow)
    preview = take_preview(settings, profile, frozen=frozen)
    if not frozen:
        speed = read_speed(settings.results, profile.name)
        start = Start(settings, profile, preview)
        preview = preview.timed(speed, at_a_time, lambda: _guess(workflow, start))
    embeds = not _asks_for(_EMBEDDING_NOTHING, call, workflow)
    if preview.refusal and embeds and not call.shows:
        raise UserError(preview.refusal)
    if screen:
        screen.begin(settings, preview)
    else:
        _tell(preview, call)
    if not call.shows:
        preview.owner.write(settings.results)
        preview.remembered.write()
        if not preview.plan_holds:
            discard_plan(settings.results, preview.fingerprint)
        if not frozen:
            is_asked = _asks_for(_CALIBRATE, call, workflow)
            _open_calibration(settings, preview, is_asked=is_asked)
    _share_the_gpu(workflow)
    lists_a_scan = call.is_preview and embeds and not preview.plan_holds
    return Start(
        settings,
        profile,
        preview,
        asks_for_atlas=_asks_for_atlas(call, workflow),
        newer_than_a_scan=_make_new_file() if lists_a_scan else (),
    )


def _asks_for_atlas(call: Call, workflow: Workflow) -> bool:
    named = {workflow.modifier.modify_rulename(rule) for rule in _ATLAS}
    named.update(map(str, Results(Path("results")).atlas))
    return not named.isdisjoint(call.targets)


def _make_new_file() -> list[str]:
    """Return a file that is newer than any, until this process ends."""
    handle, path = tempfile.mkstemp(prefix="mert-backfill-preview-")
    os.close(handle)
    atexit.register(Path(path).unlink, missing_ok=True)
    return [path]


def _asks_for(rules: Iterable[str], call: Call, workflow: Workflow) -> bool:
    """Tell whether one of some rules is asked for; a module may have renamed them."""
    return not call.targets.isdisjoint(map(workflow.modifier.modify_rulename, rules))


def _open_calibration(settings: Settings, preview: Preview, *, is_asked: bool) -> None:
    """Have a calibration done that is due or asked for, and no chunk before it is looked at."""
    outlook, results = preview.calibration, settings.results
    if outlook.is_due or is_asked:
        results.calibrated.unlink(missing_ok=True)
    if preview.chunks_remaining and (outlook.is_due or outlook.stops):
        results.plan.unlink(missing_ok=True)


def _quote_the_interpreter() -> None:
    """Have jobs start where the path of Python holds a space or a quote.

    Snakemake writes ``sys.executable`` into the shell commands of its jobs as it is, and uses it
    for nothing else.
    """
    sys.executable = shlex.quote(_PYTHON)


def _guess(workflow: Workflow, start: Start) -> Guess | None:
    """Guess how long a track takes, where this machine's processors will embed it."""
    is_elsewhere = workflow.resource_settings.nodes is not None or start.gpu_units
    return None if is_elsewhere else guess_seconds(start.profile)


def _announce(caller: Caller, workflow: Workflow) -> None:
    """Have commands told with the options of this call, unless `mert-backfill` made it."""
    if current_caller().process != os.getpid():
        announce_caller(replace(caller, rules=workflow.modifier.modify_rulename("*")))


def _check_the_places(workflow: Workflow) -> None:
    """Refuse a checkout whose path Snakemake takes apart, and a module that moves the results."""
    if workflow.modifier.modify_path("results") != "results":
        raise UserError(
            "module: prefix and replace_prefix move the results where no job looks for them; leave "
            "them out, and call snakemake with --directory to have the results elsewhere"
        )
    if {"{", "}"} & {*str(_CHECKOUT)}:
        raise UserError(
            f"{_CHECKOUT}: Snakemake takes braces in a path for wildcards; move the checkout to a "
            "folder without them, and make its .venv again"
        )


def _make_demo_at_first_use(config: Mapping[str, Any]) -> None:
    """Make the demo that a fresh checkout is configured for, so that its first call has music."""
    try:
        paths = {*(root["path"] for root in config["library"]["roots"]), config["model"]["name"]}
    except (KeyError, TypeError):  # for the schema to refuse
        return
    if not paths >= _DEMO_PATHS or (_DEMO / MARKER).exists():
        return
    if not config.get("accept_other_library"):
        check_room_for_demo(Results(Path.cwd() / "results"))
    try:
        from mert_backfill.demo.library import make_demo  # imports decoders
    except Exception as error:
        raise UserError(
            f"the demo cannot be made: a package cannot be imported ({one_line(error)}); install "
            "the pinned requirements again: pip install -r requirements.txt"
        ) from error
    print("first use: making the demo library and the demo model in demo/", file=sys.stderr)
    make_demo(_DEMO)


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


def _check_permissions_can_be_set() -> None:
    """Refuse to start where Snakemake could not: it sets the permissions of its own records."""
    folder = Path.cwd()
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=TEMPORARY_PREFIX) as file:
            can_be_set = set_mode(file.name, 0o660)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}); make the folder writable, or work in "
            "another one (snakemake --directory)"
        ) from error
    if not can_be_set:
        raise UserError(
            f"{folder}: this file system sets no permissions of files (chmod), without which "
            "Snakemake keeps no records; work in a folder of another disk (snakemake --directory), "
            "in which only results/ may be a link to a folder here"
        )


def _make_room(settings: Settings, at_a_time: int) -> None:
    """Have a library of one's own begin in a results folder of its own after the demo."""
    if is_left_by_demo(settings):
        place = set_demo_aside(settings)
        print(f"the demo's results are in {place} now", file=sys.stderr)
        start_run(settings.results, chunks_at_a_time=at_a_time)


def _tell(preview: Preview, call: Call) -> None:
    """Tell what there is to do, where the screen is that of another workflow."""
    if call.is_preview:  # below the list of jobs, where it is seen
        atexit.register(print, preview, file=sys.stderr)
    else:
        print(preview, file=sys.stderr)


def _share_the_gpu(workflow: Workflow) -> None:
    """Give the resource gpu its limit; Snakemake ignores one that has none.

    Not in profiles/default, whose entries come before those of --profile: on a cluster each job
    asks for a GPU of its own.
    """
    if workflow.resource_settings.nodes is None and "gpu" not in workflow.global_resources:
        workflow.register_resource("gpu", 1)
