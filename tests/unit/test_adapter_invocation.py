"""What a call of Snakemake does before its rules are read, step by step, with stand-ins."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.resources import Resource, Resources

from mert_backfill.errors import UserError
from mert_backfill.hints import CALL_VARIABLE, UNKNOWN, Caller, announce_caller, command
from mert_backfill.plan.calibration import Outlook
from mert_backfill.results import Results
from mert_backfill_snakemake import invocation, job, rules
from mert_backfill_snakemake.call import Call, call_of
from mert_backfill_snakemake.invocation import start_invocation, start_or_exit
from mert_backfill_snakemake.rules import chunks_at_a_time, embed_threads
from support.checks import refusal


class Preview(SimpleNamespace):
    """What there is to do."""

    def timed(self, speed: object, chunks_at_a_time: int, guess: object) -> Preview:
        return self


FOUR = Resource("gpu", 4)
PREVIEW = Preview(
    key="key",
    fingerprint="print",
    plan_holds=True,
    owner=SimpleNamespace(write=lambda results: None),
    refusal="",
    remembered=SimpleNamespace(write=lambda: None),
    chunks_remaining=1,
    calibration=Outlook(),
)


@dataclass
class Modifier:
    """What becomes of the rules of a module; of no module, by default."""

    prefix: str = ""
    folder: str = ""

    def modify_rulename(self, rulename: str) -> str:
        return self.prefix + rulename

    def modify_path(self, path: str) -> str:
        return self.folder + path

    def is_main_snakefile(self) -> bool:
        return not self.prefix


@dataclass
class Workflow:
    """The workflow of a call on one machine, by default."""

    is_main_process: bool = True
    remote_exec: bool = False
    cores: int | None = 8
    nodes: int | None = None
    modifier: Modifier = field(default_factory=Modifier)
    global_resources: dict[str, Any] = field(default_factory=dict)

    @property
    def resource_settings(self) -> Any:
        return SimpleNamespace(cores=self.cores, nodes=self.nodes)

    @property
    def config_settings(self) -> Any:
        return SimpleNamespace(overwrite_config={"limit": 3})

    @property
    def output_settings(self) -> Any:
        return SimpleNamespace(verbose=False, debug_dag=False)

    def register_resource(self, name: str, value: int) -> None:
        self.global_resources[name] = value


class Steps(list[str]):
    """The names of the steps, in the order in which they are done; and how the call turns out."""

    call = Call()
    preview = PREVIEW
    demo_before = False
    screen: Any = None


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Steps:
    """Put a stand-in in the place of each step."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", sys.executable)  # to be put back
    monkeypatch.setenv(CALL_VARIABLE, "")
    done = Steps()

    def stand_in(name: str, result: Any = None) -> None:
        def step(*arguments: Any, **options: Any) -> Any:
            told = "".join(f" {key}={value}" for key, value in options.items())
            done.append(f"{name}{told}")
            return result(*arguments) if callable(result) else result

        monkeypatch.setattr(invocation, name, step)

    settings = SimpleNamespace(
        results=Results(tmp_path / "results"),
        model="model",
        meta=SimpleNamespace(baseline="meta.json"),
        runtime=SimpleNamespace(device="cuda"),
    )
    stand_in("read_settings", settings)
    stand_in("check_owner")
    stand_in("is_left_by_demo", lambda *_: done.demo_before)
    stand_in("set_demo_aside", tmp_path / "demo" / "results")
    stand_in("open_screen", lambda *_: done.screen)
    stand_in("start_run")
    stand_in("start_remote_job")
    stand_in("fetch_model")
    stand_in("model_profile", SimpleNamespace(name="profile"))
    stand_in("discard_plan")
    monkeypatch.setattr(invocation, "read_call", lambda: done.call)
    stand_in("take_preview", lambda *_: done.preview)
    return done


def test_a_run_does_each_step_in_its_order(steps: Steps) -> None:
    start = start_invocation(Workflow(), {})
    assert steps == [
        "open_screen",
        "read_settings given={'limit': 3}",
        "check_owner",
        "start_run chunks_at_a_time=1",
        "is_left_by_demo",
        "fetch_model",
        "model_profile keep_hash=True",
        "take_preview frozen=False",
    ]
    assert start is not None
    assert start.library == ["key", "print"]
    assert start.gpu_units == 1


def test_a_preview_takes_no_lock_and_writes_nothing(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_the_end: list[Any] = []
    monkeypatch.setattr(atexit, "register", lambda *a, **_: at_the_end.extend(a))
    steps.call = Call(shows=True, is_preview=True)
    steps.preview = Preview(**{**vars(PREVIEW), "plan_holds": False})
    start_invocation(Workflow(), {})
    assert steps == [
        "open_screen",
        "read_settings given={'limit': 3}",
        "check_owner",
        "model_profile keep_hash=False",
        "take_preview frozen=False",
    ]
    assert at_the_end[:2] == [print, steps.preview]  # below the list of jobs
    at_the_end[2]()  # what makes it list the scan goes


def test_the_demo_makes_room_before_anything_is_read(
    steps: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    steps.demo_before = True
    start_invocation(Workflow(), {})
    run = "start_run chunks_at_a_time=1"
    moved = [run, "is_left_by_demo", "set_demo_aside", run, "fetch_model"]
    assert steps[3:8] == moved
    assert "the demo's results are in " in capsys.readouterr().err


def test_commands_that_are_told_get_the_options_of_the_call(steps: Steps) -> None:
    steps.call = Call(caller=Caller(cores=3, files=("mine.yaml",)))
    start_invocation(Workflow(modifier=Modifier(prefix="mert_")), {})
    assert command("publish") == "snakemake --cores 3 mert_publish --configfile mine.yaml"
    announce_caller(Caller(front=True, process=os.getpid() + 1))  # of another call
    start_invocation(Workflow(), {})
    assert command("publish") == "snakemake --cores 3 publish --configfile mine.yaml"
    announce_caller(Caller(front=True, process=os.getpid()))
    start_invocation(Workflow(), {})
    assert command("publish") == "mert-backfill publish"


def test_a_plan_that_no_longer_holds_is_discarded_by_a_run(steps: Steps) -> None:
    steps.preview = Preview(**{**vars(PREVIEW), "plan_holds": False})
    start_invocation(Workflow(), {})
    assert steps[-2:] == ["take_preview frozen=False", "discard_plan"]


@pytest.mark.parametrize(
    ("outlook", "chunks", "target", "left"),
    [
        (Outlook(), 1, "", ["calibration", "plan"]),
        (Outlook(is_due=True), 1, "", []),
        (Outlook(is_due=True), 0, "", ["plan"]),
        (Outlook(stops=True), 1, "", ["calibration"]),
        (Outlook(), 1, "mert_calibrate", ["plan"]),
        (Outlook(is_due=True), 1, "mert_publish", ["calibration", "plan"]),
    ],
)
def test_no_chunk_comes_before_a_calibration(
    steps: Steps, tmp_path: Path, outlook: Outlook, chunks: int, target: str, left: list[str]
) -> None:
    results = Results(tmp_path / "results")
    files = {"calibration": results.calibrated, "plan": results.plan}
    for file in files.values():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    steps.call = Call(targets=frozenset({target} - {""}))
    steps.preview = Preview(**{**vars(PREVIEW), "chunks_remaining": chunks, "calibration": outlook})
    start = start_invocation(Workflow(modifier=Modifier("mert_")), {})
    assert [name for name, file in files.items() if file.exists()] == left
    assert start is not None
    assert start.calibrates == (outlook.is_due or "calibration" in left)
    start.settings.meta.baseline = None
    assert not start.calibrates


@pytest.mark.parametrize(
    ("targets", "plan_holds", "forced"),
    [((), False, True), ((), True, False), (("mert_verify",), False, False)],
)
def test_a_preview_lists_the_scan_whatever_snakemake_remembers(
    steps: Steps,
    monkeypatch: pytest.MonkeyPatch,
    targets: tuple[str, ...],
    plan_holds: bool,
    forced: bool,
) -> None:
    at_the_end: list[Any] = []
    monkeypatch.setattr(atexit, "register", lambda *a, **_: at_the_end.append(a[0]))
    steps.preview = Preview(**{**vars(PREVIEW), "plan_holds": plan_holds})
    steps.call = Call(shows=True, is_preview=True, targets=frozenset(targets))
    start = start_invocation(Workflow(modifier=Modifier("mert_")), {})
    assert start is not None
    assert [Path(path).is_file() for path in start.newer_than_a_scan] == [True] * forced
    if forced:
        at_the_end[-1]()
    assert not any(Path(path).exists() for path in start.newer_than_a_scan)


@pytest.mark.parametrize("target", ["", "verify", "publish"])
@pytest.mark.parametrize("shows", [True, False])
def test_going_over_to_another_model_is_refused_to_runs_that_embed(
    steps: Steps, target: str, shows: bool
) -> None:
    steps.preview = Preview(**{**vars(PREVIEW), "refusal": "another model?"})
    steps.call = Call(shows=shows, targets=frozenset({target} - {""}))
    if target or shows:
        assert start_invocation(Workflow(), {}) is not None
    else:
        assert refusal(lambda: start_invocation(Workflow(), {})) == "another model?"


def test_reading_the_rules_needs_nothing(steps: Steps) -> None:
    steps.call = Call(reads_rules=True)
    assert start_invocation(Workflow(), {}) is None
    assert steps == []


@pytest.mark.parametrize("prefix", ["", "mert_"])
def test_what_is_published_is_what_was_audited(steps: Steps, prefix: str) -> None:
    steps.call = Call(targets=frozenset({f"{prefix}publish"}))
    start_invocation(Workflow(modifier=Modifier(prefix)), {})
    assert steps[-1] == "take_preview frozen=True"


@pytest.mark.parametrize(("remote", "more"), [(True, ["start_remote_job"]), (False, [])])
def test_a_job_on_a_node_takes_no_lock_and_lists_nothing(
    steps: Steps, remote: bool, more: list[str]
) -> None:
    start = start_invocation(Workflow(is_main_process=False, remote_exec=remote), {})
    assert steps == ["read_settings", *more, "model_profile"]
    assert start is not None
    assert start.library == []


def test_a_full_disk_is_told_before_the_lock(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4096))
    with pytest.raises(UserError, match=r"the disk is full \(4 KiB are free\)"):
        start_invocation(Workflow(), {})
    assert not any(step.startswith("start_run") for step in steps)


def test_a_folder_where_snakemake_cannot_work_is_told_before_the_lock(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invocation, "set_mode", lambda path, mode: False)
    with pytest.raises(UserError, match="only results/ may be a link to a folder here"):
        start_invocation(Workflow(), {})
    assert not any(step.startswith("start_run") for step in steps)


def test_the_demo_is_made_where_it_is_configured_and_nowhere_else(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    library = SimpleNamespace(make_demo=made.append)
    monkeypatch.setitem(sys.modules, "mert_backfill.demo.library", library)
    roots = [{"name": "demo", "path": "demo/music"}]
    start_invocation(Workflow(), {"library": {"roots": roots}, "model": {"name": "mine"}})
    start_invocation(Workflow(), {"library": {"roots": [3]}, "model": {}})
    assert made == []
    start_invocation(Workflow(), {"library": {"roots": roots}, "model": {"name": "demo/mert"}})
    assert made == [Path("demo")]


def test_a_demo_without_decoders_is_told_in_one_line(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mert_backfill.demo.library", None)
    roots = [{"name": "demo", "path": "demo/music"}]
    with pytest.raises(SystemExit, match=r"^error: the demo cannot be made: .*requirements\.txt$"):
        start_or_exit(Workflow(), {"library": {"roots": roots}, "model": {"name": "demo/mert"}})


def test_results_that_a_module_moves_are_refused(steps: Steps) -> None:
    with pytest.raises(UserError, match=r"^module: prefix .* --directory"):
        start_invocation(Workflow(modifier=Modifier(folder="elsewhere/")), {})


def test_braces_in_the_path_of_the_checkout_are_refused(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invocation, "_CHECKOUT", Path("/home/dj/{tools}"))
    with pytest.raises(UserError, match=r"^/home/dj/\{tools\}: .*move the checkout"):
        start_invocation(Workflow(), {})


@pytest.mark.parametrize(
    ("nodes", "given", "limits"),
    [(None, {}, {"gpu": 1}), (None, {"gpu": FOUR}, {"gpu": FOUR}), (20, {}, {})],
)
def test_a_gpu_is_shared_on_one_machine_only(
    steps: Steps, nodes: int | None, given: dict[str, Any], limits: dict[str, Any]
) -> None:
    workflow = Workflow(nodes=nodes, global_resources=given)
    start_invocation(workflow, {})
    assert workflow.global_resources == limits


@pytest.mark.parametrize(
    ("workflow", "usable", "threads"),
    [
        (Workflow(cores=8), 64, 4),
        (Workflow(cores=1), 64, 1),
        (Workflow(cores=64), 6, 3),  # `--cores all` under a container's quota
        (Workflow(cores=2), 1, 1),
        (Workflow(cores=None, nodes=20), 64, 1),
        (Workflow(cores=64, remote_exec=True), 64, 1),
    ],
)
def test_a_chunk_gets_half_of_the_cores(
    monkeypatch: pytest.MonkeyPatch, workflow: Workflow, usable: int, threads: int
) -> None:
    monkeypatch.setattr(rules, "usable_cpus", lambda: usable)
    assert embed_threads(workflow) == threads


@pytest.mark.parametrize(
    ("workflow", "device", "chunks"),
    [
        (Workflow(cores=8), "cpu", 2),
        (Workflow(cores=3), "cpu", 3),
        (Workflow(cores=1), "cpu", 1),
        (Workflow(cores=64), "cpu", 2),
        (Workflow(cores=None), "cpu", 2),  # a preview
        (Workflow(cores=None, nodes=20), "cpu", 20),
        (Workflow(cores=8), "cuda", 1),
        (Workflow(cores=8, global_resources=Resources({"gpu": Resource("gpu", 4)})), "cuda", 4),
    ],
)
def test_how_many_chunks_are_done_at_a_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workflow: Workflow, device: str, chunks: int
) -> None:
    monkeypatch.setattr(rules, "usable_cpus", lambda: 16)
    settings: Any = SimpleNamespace(
        results=Results(tmp_path), runtime=SimpleNamespace(device=device)
    )
    assert chunks_at_a_time(workflow, settings) == chunks


def test_what_a_command_line_asks_for() -> None:
    def asked_for(**flags: object) -> Call:
        return replace(call_of(flags), caller=UNKNOWN)

    assert asked_for() == Call()
    assert asked_for(dryrun=True, targets={"all"}) == Call(
        shows=True, is_preview=True, targets=frozenset({"all"})
    )
    assert asked_for(rulegraph=True) == Call(shows=True)
    assert asked_for(touch=True) == Call(shows=True)
    assert asked_for(list_rules=True, targets=None) == Call(reads_rules=True)


# --- jobs


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (UserError("x.wav: is a folder"), 1, "error: x.wav: is a folder\n"),
        (KeyboardInterrupt(), 130, ""),  # the run tells it, once
        (ValueError("odd"), 1, "internal error: odd; the traceback is in job.log\n"),
    ],
)
def test_an_error_of_a_job_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    heard = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(job, "read_settings", lambda _: SimpleNamespace(results="results"))
    monkeypatch.setattr(job, "join_run", lambda _: None)

    def work(settings: object) -> None:
        raise error

    snakemake: Any = SimpleNamespace(log=["job.log"], config={})
    try:
        with pytest.raises(SystemExit) as end:
            job.run_job(snakemake, work)
    finally:
        signal.signal(signal.SIGINT, heard)
    assert end.value.code == code
    assert capsys.readouterr().err == told
    assert ("Traceback" in Path("job.log").read_text()) == isinstance(error, ValueError)
