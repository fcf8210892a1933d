"""The page docs/reliability.md, made of the fault suite itself.

``make reliability`` writes it. Hostile files come from the table that the suite makes them of,
everything else from the docstrings of its tests: what happens, ``->``, and what comes of it.
"""

from __future__ import annotations

import ast
from pathlib import Path

from support import REPO

FOLDER = REPO / "tests" / "faults"
PAGE = REPO / "docs" / "reliability.md"
# in the order of the page
SECTIONS = {
    "test_hostile.py": "Hostile files and names",
    "test_isolation.py": "Crashes, hangs and leaks",
    "test_retry.py": "Quarantine and retry",
    "test_disk.py": "Full disks",
    "test_moving_library.py": "A library that moves",
    "test_replaced_files.py": "Another song under an old name",
    "test_damage.py": "Damaged files of our own",
    "test_fuzzing.py": "Damaged sound",
    "test_two_at_once.py": "Two at once",
    "test_preflight.py": "Preflight",
    "test_security.py": "Hostile input",
}
INTRODUCTION = """\
# Reliability

What can go wrong, and what comes of it. Each line is proven by a test in `tests/faults/`, which
`make test` runs. This page is made of those tests by `make reliability`; a test fails
when the two differ.

Kills at random moments have loops of their own in `tests/workflow/`: a short one in `make test`,
200 kills in `make soak`. After each kill vectors have only ever appeared, whole; at the end all
is as after an uninterrupted run, byte for byte (times aside).
"""


def make_page() -> str:
    """Return the page."""
    parts = [INTRODUCTION]
    for name, title in SECTIONS.items():
        rows = read_faults(FOLDER / name)
        parts.append(f"## {title}\n\n{_table('what happens', 'what comes of it', rows)}")
    parts.append(f"## Each hostile file\n\n{_hostile_files()}")
    return "\n".join(parts)


def read_faults(path: Path) -> list[tuple[str, str]]:
    """Return what happens and what comes of it, for each test whose docstring says so."""
    faults = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            text = " ".join((ast.get_docstring(node) or "").split())
            happens, arrow, outcome = text.partition(" -> ")
            if arrow:
                faults.append((happens, outcome.removesuffix(".")))
    return faults


def _hostile_files() -> str:
    from support.hostile import HOSTILE  # it needs the helpers of the other tests

    rows = [
        (hostile.what, f"`{hostile.outcome}`" + (f", `{hostile.remark}`" if hostile.remark else ""))
        for hostile in HOSTILE
    ]
    return (
        f"{len(HOSTILE)} files, made by code in one library. `junk`: counted as junk, never "
        "opened; `not_regular`:\nlisted as such, never opened; `not listed`: no track at all.\n\n"
        + _table("file", "outcome", rows)
    )


def _table(left: str, right: str, rows: list[tuple[str, str]]) -> str:
    lines = [(left, right), ("---", "---"), *rows]
    return "".join(f"| {one.replace('|', '/')} | {two.replace('|', '/')} |\n" for one, two in lines)


if __name__ == "__main__":
    PAGE.write_text(make_page(), encoding="utf-8")
