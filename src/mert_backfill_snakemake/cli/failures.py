"""``mert-backfill failures``: which tracks failed, why, and what to do about it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.text import Text

from mert_backfill.errors import visible
from mert_backfill.failures import ADVICE, Failure
from mert_backfill.health.failure_lists import read_failures
from mert_backfill.records.ledger import read_ledger
from mert_backfill.results import Results
from mert_backfill.words import counted
from mert_backfill_snakemake.cli.app import EMBEDDING, app
from mert_backfill_snakemake.cli.front import Directory, Options


@app.command(epilog="Example: mert-backfill failures", rich_help_panel=EMBEDDING)
def failures(directory: Directory = None) -> None:
    """Say which tracks failed, what that means, and what to do. Also while a run is at work."""
    results = Results((directory or Path()) / "results")
    found = _newest(results)
    again = Options(directory=directory).caller.command(config="retry_failed=true")
    console = Console(highlight=False, soft_wrap=True)
    if not found:
        console.print("No track failed.")
        return
    by_reason: defaultdict[str, list[Failure]] = defaultdict(list)
    for failure in found:
        by_reason[failure.reason].append(failure)
    for reason, those in sorted(by_reason.items(), key=lambda one: -len(one[1])):
        meaning, cure = ADVICE.get(reason, ("", ""))
        line = Text(f"{counted(len(those), 'track')}: {meaning} ({reason})", style="bold")
        console.print(line)
        console.print(Text(f"what to do: {cure}"))
        for failure in those:
            console.print(Text(f"  {visible(failure.path)}"))
        console.print()
    quarantined = sum(failure.permanent for failure in found)
    if quarantined:
        console.print(
            f"{counted(quarantined, 'track')} quarantined: left alone until the file changes. "
            f"To try again all the same: {again}",
            markup=False,
        )
    if quarantined < len(found):
        console.print("The others are tried again by each run.")


def _newest(results: Results) -> list[Failure]:
    """Return the failures of the last audit, or of the journals where these are newer."""
    if results.failures.exists():
        audited = results.failures.stat().st_mtime_ns
        if all(path.stat().st_mtime_ns <= audited for path in results.journals()):
            return read_failures(results.failures)
    return sorted(read_ledger(results).failures.values(), key=lambda failure: failure.path)
