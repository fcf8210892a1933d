"""Hostile files and hostile names: one library of them all, embedded by the real Snakemake."""

from __future__ import annotations

import csv
import html.parser
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import pytest

from mert_backfill.library.path_lists import read_path_list
from mert_backfill.library.paths import PathMap
from support.checks import read_frame
from support.hostile import HOSTILE, NAMES, Hostile, make_library
from support.project import Call, Project, make_project

EMBEDDED = {"embedded", "reused"}


@dataclass(frozen=True)
class Run:
    """The finished project, what it was made of, and both calls."""

    project: Project
    made: list[Hostile]
    stale_keys: list[str]
    first: Call
    second: Call

    def path(self, hostile: Hostile) -> str:
        return f"{self.project.music}/{hostile.name}"

    def paths(self, *outcomes: str) -> set[str]:
        return {self.path(hostile) for hostile in self.made if hostile.outcome in outcomes}

    @property
    def tracks(self) -> set[str]:
        return {self.path(hostile) for hostile in self.made if hostile.is_found}

    @property
    def failing(self) -> dict[str, str]:
        """The reason of each track that fails, by its path."""
        return {
            self.path(hostile): hostile.outcome
            for hostile in self.made
            if hostile.is_found and hostile.outcome != "embedded"
        }

    def table(self, pattern: str) -> list[dict[str, str]]:
        """Read the one table below results/ that the pattern finds, with Python's csv."""
        (path,) = self.project.results.glob(pattern)
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t"))

    def frame(self, pattern: str) -> pandas.DataFrame:
        """Read it with pandas."""
        (path,) = self.project.results.glob(pattern)
        return read_frame(path, dtype=str, keep_default_na=False)

    def text(self, name: str) -> str:
        return (self.project.results / name).read_bytes().decode("utf-8", "surrogateescape")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("hostile")
    project = make_project(
        folder, chunking={"size": 1000}, meta={"baseline": str(folder / "data" / "meta.json")}
    )
    made = make_library(project.music)
    stale = [f"{project.music}/gone/{stem}.mp3" for stem in NAMES]
    (folder / "data").mkdir()
    rows = {key: {"title": key} for key in stale}
    (folder / "data" / "meta.json").write_text(json.dumps({"tracks": rows}), encoding="utf-8")
    return Run(project, made, stale, project.snakemake(), project.snakemake())


# --- outcomes ---------------------------------------------------------------------------------


def test_there_are_enough_of_them() -> None:
    assert len({hostile.name for hostile in HOSTILE}) == len(HOSTILE) >= 60
    assert max(len(os.fsencode(hostile.name.rpartition("/")[2])) for hostile in HOSTILE) == 240


def test_every_one_ends_as_embedded_or_with_the_right_reason(run: Run) -> None:
    """A library of nothing but hostile files -> one run ends well, each file as listed below."""
    assert run.first.code == 0, run.first.output
    assert "Traceback" not in run.first.output
    rows = run.table("chunks/*.tracks.tsv")
    reasons = {record["path"]: record["reason"] for record in failure_records(run)}
    outcomes = {
        row["path"]: "embedded" if row["status"] in EMBEDDED else reasons[row["path"]]
        for row in rows
    }
    assert outcomes == dict.fromkeys(run.paths("embedded"), "embedded") | run.failing


def test_sound_that_ends_early_is_remarked_on(run: Run) -> None:
    """A file that ends before it says so -> its vector has the remark cut_short, which the
    table, the journal and the audit's page tell; no other file has one."""
    remarks = {row["path"]: row["remark"] for row in run.table("chunks/*.tracks.tsv")}
    expected = {run.path(hostile): hostile.remark for hostile in run.made if hostile.is_found}
    assert remarks == expected
    told = run.text("audit/audit.md").count("` | `cut_short` |")
    assert told == sum(map(bool, expected.values())) > 5


def test_sound_behind_a_stop_is_heard(run: Run) -> None:
    """A file at which one decoder stops though there is more -> the other is asked, and the
    longer sound is taken."""
    seconds = {
        Path(row["path"]).name: row["duration_s"] for row in run.table("chunks/*.tracks.tsv")
    }
    stopping = [
        "few frames.mp3", "joined.mp3", "joined.flac", "chained.ogg", "chained.opus",
        "two rates.mp3", "hole.mp3", "flipped.flac",
    ]  # fmt: skip
    for name in stopping:
        assert float(seconds[name]) > 2.5, name


def test_what_is_no_file_is_not_opened(run: Run) -> None:
    summary = run.project.read_json("gaps/summary.json")
    assert set(summary["samples"]["not_regular"]) == run.paths("not_regular")
    assert set(summary["samples"]["junk_files"]) == run.paths("junk")
    counts = summary["counts"]
    assert counts["audio_files_found"] == len(run.tracks) + len(run.paths("junk"))
    assert counts["pending_embedding_total"] == len(run.tracks)


def test_no_name_was_run_as_a_command(run: Run) -> None:
    """Names that hold commands -> nothing runs them."""
    assert not [path for path in run.project.folder.rglob("hacked*") if path.suffix == ""]


def test_a_second_run_tries_none_again(run: Run) -> None:
    """The same command again -> nothing to do: no hopeless file is tried again."""
    assert run.second.nothing_to_do, run.second.output
    assert {record["attempts"] for record in failure_records(run)} == {1}


# --- names come out as they went in -----------------------------------------------------------


def failure_records(run: Run) -> list[dict[str, Any]]:
    (path,) = run.project.results.glob("chunks/*.failed.jsonl")
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize(
    "pattern", ["gaps/manifest.tsv", "gaps/chunks/*.tsv", "chunks/*.tracks.tsv"]
)
def test_tables_hold_every_name(run: Run, pattern: str) -> None:
    """TSV files -> every name comes out as it went in, by csv and by pandas."""
    for paths in ([row["path"] for row in run.table(pattern)], list(run.frame(pattern)["path"])):
        assert len(paths) == len(run.tracks)
        assert set(paths) == run.tracks


def test_failure_files_hold_every_name(run: Run) -> None:
    """failed.jsonl and failures.tsv -> every name of a failed track comes out as it went in."""
    assert {record["path"]: record["reason"] for record in failure_records(run)} == run.failing
    rows = run.table("audit/failures.tsv")
    assert {row["path"]: row["reason"] for row in rows} == run.failing
    assert set(run.frame("audit/failures.tsv")["path"]) == run.failing.keys()


def test_lists_of_paths_hold_every_name_that_a_line_can_hold(run: Run) -> None:
    """Lists of paths -> every name but those with a line break; read back they name the files."""
    one_line = {path for path in run.tracks if not re.search("[\r\n]", path)}
    lines = run.text("gaps/pending_embedding_paths.txt").split("\n")
    assert set(lines) == {*one_line, ""}
    retry = read_path_list(
        run.project.results / "audit" / "retry_paths.txt", PathMap(), globs=False
    )
    assert {path for path in run.tracks if retry.contains(path)} == one_line & run.failing.keys()
    assert "2 more have a line break" in run.text("audit/retry_paths.txt")


def test_meta_holds_every_name(run: Run) -> None:
    """meta.json -> every name comes out as it went in, rows without a file too."""
    rows = run.project.read_json("meta/meta.json")["tracks"]
    assert rows.keys() == {*run.paths("embedded"), *run.stale_keys}
    for path in run.paths("embedded"):
        vector = rows[path]["embedding"]
        assert os.path.isfile(vector)
        assert vector.startswith(f"{run.project.results}/embeddings/")


class _Cells(html.parser.HTMLParser):
    """Collects the text of the cells of a class, and every element and attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag == "td":
            self._inside = ("class", "name") in attrs
            if self._inside:
                self.names.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "td"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.names[-1] += data


def escaped(text: str) -> str:
    """Return `text` as pages are to show it: what cannot be seen as a Python escape."""
    return re.sub(
        r"[^\x20-\U0010ffff]|[\x7f-\x9f\u2028\u202e\ud800-\udfff]",
        lambda match: match[0].encode("unicode_escape").decode(),
        text,
    )


def test_the_html_page_shows_names_and_obeys_none(run: Run) -> None:
    """report.html -> every name as text; no element, attribute or script comes from one."""
    page = _Cells()
    page.feed((run.project.results / "audit" / "report.html").read_bytes().decode("utf-8"))
    assert {escaped(path) for path in run.failing} <= set(page.names)
    assert page.tags.isdisjoint({"img", "a", "iframe", "object", "link", "form"})
    assert not {name for name in page.attributes if name.startswith("on")} | (
        page.attributes & {"src", "href"}
    )


def test_the_markdown_page_shows_names_and_obeys_none(run: Run) -> None:
    """audit.md -> names are code, or escaped: no HTML, no link, no broken table."""
    page = (run.project.results / "audit" / "audit.md").read_bytes().decode("utf-8")
    table = page.split("## Stale rows")[1].split("\n\n")[2].splitlines()
    shown = [line.removeprefix("| ").removesuffix(" |") for line in table[2:]]
    assert len(shown) == 25
    for cell, key in zip(shown, run.stale_keys, strict=False):
        code = re.fullmatch(r"(`+)( ?)(.*?)\2\1", cell)
        if code is not None:
            assert code[1] not in re.findall("`+", code[3])
            assert "|" not in cell
            assert code[3] == escaped(key)
            continue
        assert "<" not in cell
        plain = re.sub(r"\\([\\`*_{}\[\]()#|~$!])", r"\1", cell)
        assert not re.search(r"(?<!\\)[|`*\[\]<]", re.sub(r"\\.", "", cell))
        for entity, letter in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
            plain = plain.replace(entity, letter)
        assert plain == escaped(key)


def test_logs_hold_no_control_codes(run: Run) -> None:
    """Logs -> names are escaped, so that no name moves the cursor or forges a line."""
    for path in Path(run.project.results, "logs").rglob("*.log"):
        text = path.read_bytes().decode("utf-8")
        assert "\x1b" not in text
    assert "\x1b[2J" not in run.first.output
