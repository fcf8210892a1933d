"""The commands that stand for a line of Snakemake."""

from __future__ import annotations

from typing import Annotated

import typer

from mert_backfill_snakemake.cli.app import EMBEDDING, META, USING, app
from mert_backfill_snakemake.cli.front import (
    ConfigFile,
    Cores,
    Directory,
    Entries,
    Options,
    hand_over,
)


def _command(
    name: str, panel: str, meaning: str, *, target: str = "", one: bool = False, config: str = ""
) -> None:
    """Register a command without options of its own; it needs `one` core, or all."""

    def run(
        configfile: ConfigFile = None,
        directory: Directory = None,
        cores: Cores = None,
        config_entries: Entries = None,
    ) -> None:
        entries = (*filter(None, [config]), *(config_entries or ()))
        options = Options(configfile, directory, cores, entries)
        hand_over(options, target, cores=1 if one else None)

    epilog = f"Example: mert-backfill {name}"
    app.command(name, help=meaning, epilog=epilog, rich_help_panel=panel)(run)


@app.command(epilog="Example: mert-backfill preview", rich_help_panel=EMBEDDING)
def preview(
    configfile: ConfigFile = None,
    directory: Directory = None,
    cores: Cores = None,
    config: Entries = None,
) -> None:
    """Say what there is to do: files found, tracks pending. Changes nothing."""
    hand_over(Options(configfile, directory, cores, tuple(config or ())), flags=["-n"])


@app.command(epilog="Example: mert-backfill run --limit 10", rich_help_panel=EMBEDDING)
def run(
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only so many tracks, to try it out.")
    ] = None,
    configfile: ConfigFile = None,
    directory: Directory = None,
    cores: Cores = None,
    config: Entries = None,
) -> None:
    """Embed what is pending, or go on where it stopped. Ctrl-C stops it, nothing is lost."""
    entries = (*([f"limit={limit}"] if limit else ()), *(config or ()))
    hand_over(Options(configfile, directory, cores, entries))


_command(
    "retry",
    EMBEDDING,
    "Try the tracks again that failed for good: those that are left alone otherwise.",
    config="retry_failed=true",
)
_command(
    "calibrate",
    EMBEDDING,
    "Embed some tracks of meta.json again, and say which recipe made their vectors.",
    target="calibrate",
)
_command(
    "verify",
    EMBEDDING,
    "Read every vector; damaged ones are renamed, and the next run makes them again.",
    target="verify",
    one=True,
)
_command(
    "recheck",
    EMBEDDING,
    "Find vectors that earlier versions made of less sound than there is.",
    target="recheck",
)
_command(
    "triage",
    META,
    "Say what is out of order in meta.json, and propose what to do. Changes nothing.",
    target="triage",
    one=True,
)


@app.command(epilog="Example: mert-backfill tidy relink,merge", rich_help_panel=META)
def tidy(
    apply: Annotated[
        str | None, typer.Argument(help="Of relink, merge, archive: what to carry out.")
    ] = None,
    configfile: ConfigFile = None,
    directory: Directory = None,
    cores: Cores = None,
    config: Entries = None,
) -> None:
    """Carry out what triage proposes, in results/meta/meta.json only."""
    entries = (*([f"apply={apply}"] if apply else ()), *(config or ()))
    hand_over(Options(configfile, directory, cores, entries), "tidy", cores=1)


_command("untidy", META, "Take back what the last tidy did.", target="untidy", one=True)
_command(
    "publish",
    META,
    "Write the new meta.json over yours, after a backup; your own changes stay.",
    target="publish",
    one=True,
)
_command(
    "undo", META, "Take back the last publish from your meta.json.", target="unpublish", one=True
)
_command(
    "atlas",
    USING,
    "Find neighbours and near-duplicates, and draw the map of the library.",
    target="atlas",
)
