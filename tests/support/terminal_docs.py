"""Writes docs/terminal.md: what a terminal shows, recorded from real runs.

``cd tests && PYTHONPATH=../src python -m support.terminal_docs``
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from support import REPO
from support.kill_loop import make_library
from support.project import Project, user_environment
from support.terminal import Terminal, screen_lines

PAGE = REPO / "docs" / "terminal.md"
_HOME = "/home/me/mert-backfill"
_LATER = re.compile(r"(\d+) of 13 tracks done, 1 failed, ")

TEXT = """\
# What a terminal shows

Recorded from real runs in a pseudo-terminal by `python -m support.terminal_docs` (in `tests/`):
twelve tracks and a broken file, in chunks of four, of which two are done at a time, with the small
demo model. Only the folders are called otherwise here. `tests/workflow/test_terminal.py` checks the
same.

## A preview

```console
{preview}
```

The table is Snakemake's: it plans the chunks once the library is scanned. After that it counts them
(`embed_chunk`), and their names follow.

## A run, two chunks at a time

One line tells of the whole backlog, and is drawn anew each second; messages go above it. In a file
(`snakemake ... 2> log.txt`) the same line comes every minute.

```console
{begun}
```

A little later the last line is

```console
{later}
```

## Beside it, in another terminal

```console
{status}
```

## Ctrl-C

```console
{stopped}
```

A second Ctrl-C ends it at once, with the same sentence.

## The same command goes on

```console
{preview_again}
```

```console
{finished}
```

## Nothing to do

```console
{nothing}
```

## An error is the last thing on the screen

```console
{error}
```

## All that Snakemake has to say

is in `.snakemake/log/`, one file a run, and on the terminal with `--verbose`.
"""


def main() -> None:
    """Record the runs and write the page."""
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(record(Project(Path(folder, "library"))), encoding="utf-8")


def record(project: Project) -> str:
    """Return the page, recorded in a folder that is made for it."""
    make_library(project.folder, tracks=12, seconds=60)
    shown = {"preview": _whole(project, "-n")}
    run = _start(project)
    run.wait_until(lambda text: ", 1 failed" in screen_lines(text)[-1])
    shown["begun"] = _page(project, "", run.lines)
    run.wait_until(_LATER.search)
    shown["later"] = run.lines[-1]
    shown["status"] = _status(project)
    run.press_ctrl_c()
    run.wait()
    shown["stopped"] = _page(project, "", run.lines)
    shown["preview_again"] = _whole(project, "-n")
    shown["finished"] = _whole(project)
    shown["nothing"] = _whole(project)
    shown["error"] = _whole(project, "publish")
    return TEXT.format(**shown)


def _start(project: Project, *arguments: str) -> Terminal:
    return Terminal(project.command(*arguments), project.folder, user_environment())


def _whole(project: Project, *arguments: str) -> str:
    run = _start(project, *arguments)
    run.wait()
    return _page(project, " ".join(arguments), run.lines)


def _status(project: Project) -> str:
    code = "from mert_backfill_snakemake.cli import main; main()"
    command = [sys.executable, "-c", code, "status", "--directory", str(project.folder)]
    said = subprocess.check_output(command, text=True)
    return f"$ mert-backfill status\n{said.rstrip()}"


def _page(project: Project, arguments: str, lines: Iterable[str]) -> str:
    """Return a command and what it showed, as if it had been typed in a checkout."""
    command = f"$ snakemake {'' if arguments == '-n' else '--cores 2 '}{arguments}".rstrip()
    text = "\n".join(line.rstrip() for line in lines).rstrip()
    text = text.replace(str(project.folder), _HOME).replace(str(REPO), _HOME)
    return f"{command}\n{text}"


if __name__ == "__main__":
    main()
