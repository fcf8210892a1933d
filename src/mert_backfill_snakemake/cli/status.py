"""``mert-backfill status``: where the backlog stands."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from mert_backfill.health.status import Status, StatusReader
from mert_backfill.health.status_words import status_lines
from mert_backfill.results import Results
from mert_backfill_snakemake.cli.app import EMBEDDING, app
from mert_backfill_snakemake.cli.front import Directory

_EVERY_S = 1.0


@app.command(epilog="Example: mert-backfill status --watch", rich_help_panel=EMBEDDING)
def status(
    directory: Directory = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    watch: Annotated[bool, typer.Option(help="Show it anew each second, until Ctrl-C.")] = False,
) -> None:
    """Say where the backlog stands: done, failed, how fast, and how long the rest takes.

    It works beside a run and after it, and changes nothing.
    """
    reader = StatusReader(Results((directory or Path()) / "results"))
    if not watch:
        print(_format(reader.read(), as_json=as_json))
        return
    try:
        _watch(reader, as_json=as_json)
    except KeyboardInterrupt:
        return


def _watch(reader: StatusReader, *, as_json: bool) -> None:
    """Show the status again and again, in place where a terminal shows it."""
    in_place = sys.stdout.isatty() and not as_json
    shown = 0
    while True:
        text = _format(reader.read(), as_json=as_json)
        if in_place:
            sys.stdout.write(f"\x1b[{shown}F\x1b[J" if shown else "")
            shown = text.count("\n") + 1
        print(text, flush=True)
        time.sleep(_EVERY_S)


def _format(found: Status, *, as_json: bool) -> str:
    return json.dumps(found.as_record()) if as_json else "\n".join(status_lines(found))
