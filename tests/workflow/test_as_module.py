"""The workflow in another one, in odd places, and seen by Snakemake's own tools."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mert_backfill.results import CHARTS
from support import REPO
from support.project import Call, Project, user_environment

OUTER = """
configfile: "config/config.yaml"

module mert:
    snakefile: {snakefile!r}
    config: config

use rule * from mert as mert_*
"""
RULES = {"scan_library", "preflight", "plan_chunks", "embed_chunk", "rebuild_meta", "audit"}


def call(project: Project, *arguments: str, snakefile: Path, python: Path | None = None) -> Call:
    """Call Snakemake with a Snakefile of one's own, from the folder that it lies in."""
    command = [str(python or sys.executable), "-m", "snakemake", "-s", str(snakefile)]
    before = project.logs()
    done = subprocess.run(
        [*command, "--directory", str(project.folder), "--cores", "2", *arguments],
        cwd=snakefile.parent,
        env=user_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return Call(done.returncode, done.stdout, project.log_since(before))


@pytest.fixture(scope="module")
def outer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Snakefile of another workflow, which uses this one."""
    path = tmp_path_factory.mktemp("another workflow") / "Snakefile"
    path.write_text(OUTER.format(snakefile=str(REPO / "workflow" / "Snakefile")), encoding="utf-8")
    return path


def test_a_module_previews_and_does_its_jobs(fresh: Project, outer: Path) -> None:
    preview = call(fresh, "-n", snakefile=outer)
    assert preview.code == 0, preview.output
    assert "tracks pending: 13, chunks remaining: 2" in preview.output
    assert "mert_everything" in preview.output
    scanned = call(fresh, "results/gaps/manifest.tsv", snakefile=outer)
    assert scanned.jobs == ["mert_scan_library"], scanned.output
    assert len(fresh.pending()) == 13


def test_a_module_lists_its_rules(fresh: Project, outer: Path) -> None:
    listed = call(fresh, "--list-rules", snakefile=outer)
    assert {f"mert_{name}" for name in RULES} <= {*listed.output.split()}


def test_the_root_as_a_module_without_a_prefix(fresh: Project, tmp_path: Path) -> None:
    snakefile = tmp_path / "Snakefile"
    text = OUTER.format(snakefile=str(REPO / "Snakefile")).replace(" as mert_*", "")
    snakefile.write_text(text, encoding="utf-8")
    graph = call(fresh, "--rulegraph", snakefile=snakefile)
    assert graph.code == 0, graph.output
    assert set(re.findall(r'label = "(\w+)"', graph.output)) >= {*RULES, "all"} - {"embed_chunk"}


def test_a_prefix_that_moves_the_results_is_refused(fresh: Project, tmp_path: Path) -> None:
    snakefile = tmp_path / "Snakefile"
    text = OUTER.format(snakefile=str(REPO / "workflow" / "Snakefile"))
    moved = text.replace("config: config\n", 'config: config\n    prefix: "elsewhere"\n')
    snakefile.write_text(moved, encoding="utf-8")
    refused = call(fresh, "-n", snakefile=snakefile)
    assert refused.code != 0
    assert len(refused.errors) == 1
    assert "--directory" in refused.errors[0]


def test_a_report_holds_page_and_charts_with_captions_and_labels(project: Project) -> None:
    project.run("--report", "report.zip")
    with zipfile.ZipFile(project.folder / "report.zip") as archive:
        text = archive.read("report/report.html").decode()
    found = re.search(r'id="results">\s*var results = (\{.*\});$', text, re.MULTILINE)
    assert found is not None
    shown = json.loads(found[1])
    labels = {"audit/report.html": ("audit", {"page": "report"})} | {
        f"audit/charts/{name}.svg": (name, {"chart": title}) for name, title in CHARTS.items()
    }
    for file, (caption, label) in labels.items():
        page = shown[f"results/{file}"]
        assert page["labels"] == label
        told = (REPO / "workflow" / "report" / f"{caption}.rst").read_text(encoding="utf-8")
        assert told.strip() in page["caption"]


def test_a_checkout_in_an_odd_folder_works(fresh: Project, tmp_path: Path) -> None:
    checkout = tmp_path / 'dj\'s "best" $tools'
    checkout.mkdir()
    for name in ("Snakefile", "workflow", "src", "config", "profiles", "envs"):
        copy = shutil.copytree if (REPO / name).is_dir() else shutil.copy
        copy(REPO / name, checkout / name)
    (checkout / ".venv").symlink_to(Path(sys.executable).parents[1])
    shutil.rmtree(fresh.results, ignore_errors=True)
    scanned = call(
        fresh,
        "results/gaps/manifest.tsv",
        snakefile=checkout / "Snakefile",
        python=checkout / ".venv" / "bin" / "python",
    )
    assert scanned.jobs == ["scan_library"], scanned.output


def test_a_checkout_uses_its_own_source(fresh: Project, tmp_path: Path) -> None:
    """As with a .venv into which another checkout was installed."""
    for package in ("mert_backfill", "mert_backfill_snakemake"):
        (tmp_path / package).mkdir()
        text = f"raise SystemExit('{package} of another checkout')\n"
        (tmp_path / package / "__init__.py").write_text(text, encoding="utf-8")
    shutil.rmtree(fresh.results, ignore_errors=True)
    done = fresh.snakemake("results/gaps/manifest.tsv", environment={"PYTHONPATH": str(tmp_path)})
    assert done.jobs == ["scan_library"], done.output


def test_a_broken_decoder_is_told_by_preflight_alone(fresh: Project, tmp_path: Path) -> None:
    """soundfile raises at its import -> the preview still answers; a run ends with one line."""
    (tmp_path / "soundfile.py").write_text("raise OSError('no libsndfile')\n", encoding="utf-8")
    environment = {"PYTHONPATH": str(tmp_path)}
    shutil.rmtree(fresh.results, ignore_errors=True)
    preview = fresh.snakemake("-n", environment=environment)
    assert preview.code == 0, preview.output
    assert "tracks pending: 13, chunks remaining: 2" in preview.output
    run = fresh.snakemake(environment=environment)
    assert run.code != 0
    assert [line for line in run.errors if line.startswith("error: soundfile cannot")] == run.errors
    assert len(run.errors) == 1
    assert "Traceback" not in run.output
    assert run.jobs == ["scan_library"]
