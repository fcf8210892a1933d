"""``mert-backfill similar`` and ``path``: what sounds alike, and a way from track to track."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mert_backfill.errors import UserError, visible
from mert_backfill.hints import Caller, announce_caller, command
from mert_backfill.results import Results
from mert_backfill.words import counted
from mert_backfill_snakemake.cli.app import USING, app
from mert_backfill_snakemake.cli.front import CONFIG_FILE, Directory

if TYPE_CHECKING:  # they import tables and numbers: only when a command is called
    from mert_backfill.atlas.search import Atlas
    from mert_backfill.records.atlas import AtlasTrack

SEVERAL_FIT = 2  # the exit code
_LISTED = 20


class Spelling(StrEnum):
    """How a playlist writes its paths."""

    HERE = "here"
    THERE = "there"


Playlist = Annotated[
    Path | None, typer.Option("--m3u", metavar="FILE", help="Write them as a playlist, too.")
]
Paths = Annotated[
    Spelling | None,
    typer.Option(
        "--paths",
        help="How the playlist writes paths: as this machine does, or as meta.json does. Without "
        "it, there if meta.json is that of a Windows program.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
_TRACK = "A path in any spelling, or words of artist and title."


@app.command(
    epilog='Example: mert-backfill similar "night bus" --m3u like-night-bus.m3u8',
    rich_help_panel=USING,
)
def similar(
    track: Annotated[str | None, typer.Argument(help=_TRACK)] = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", metavar="PLAYLIST", help="What fits to all tracks of a playlist."),
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many.")] = 20,
    m3u: Playlist = None,
    paths: Paths = None,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """List the tracks that sound most like one, or like all of a playlist."""
    if (track is None) == (from_ is None):
        raise typer.BadParameter("give a track, or --from PLAYLIST")
    atlas = _open(directory)
    if from_ is not None:
        places = _members(atlas, from_)
        found = atlas.fitting(places, n)
        title = f"Fits to {counted(len(places), 'track')} of {from_.name}"
        asked: dict[str, Any] = {
            "from": str(from_),
            "tracks": [_record(atlas.tracks[one]) for one in places],
        }
    else:
        (place,) = _choose(atlas, track or "")
        found = atlas.nearest(place, n)
        title = f"Sounds like {_name(atlas.tracks[place])}"
        asked = {"track": _record(atlas.tracks[place])}
    tracks: list[tuple[AtlasTrack, float | None]]
    tracks = [(atlas.tracks[place], cosine) for place, cosine in found]
    _answer(atlas, asked, "similar", title, tracks, as_json)
    _write_playlist(m3u, atlas, [track for track, _ in tracks], paths)


@app.command(
    epilog='Example: mert-backfill path "night bus" "first light" --n 8', rich_help_panel=USING
)
def path(
    first: Annotated[str, typer.Argument(metavar="FROM", help=_TRACK)],
    last: Annotated[str, typer.Argument(metavar="TO", help="The same.")],
    n: Annotated[
        int, typer.Option("--n", "-n", min=2, help="How many tracks, both ends among them.")
    ] = 10,
    m3u: Playlist = None,
    paths: Paths = None,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Find a way from one track to another, in small steps."""
    from mert_backfill.atlas.search import is_gone
    from mert_backfill.atlas.way import find_way, other_copies
    from mert_backfill.records.atlas import read_steps

    atlas = _open(directory)
    start, end = (place for text in (first, last) for place in _choose(atlas, text))
    if start == end:
        raise UserError(f"{first!r} and {last!r} are one track: give two")
    gone = {place for place, track in enumerate(atlas.tracks) if is_gone(track.path)}
    way = find_way(
        atlas.unit,
        read_steps(atlas.results, atlas.tracks),
        (start, end),
        n,
        gone | other_copies(atlas.copies, (start, end)),
    )
    steps = [None, *(atlas.cosine(*pair) for pair in pairwise(way))]
    tracks = [(atlas.tracks[place], cosine) for place, cosine in zip(way, steps, strict=True)]
    asked = {"from": _record(atlas.tracks[start]), "to": _record(atlas.tracks[end])}
    title = f"From {_name(atlas.tracks[start])} to {_name(atlas.tracks[end])}"
    _answer(atlas, asked, "path", title, tracks, as_json)
    _write_playlist(m3u, atlas, [track for track, _ in tracks], paths)


def _open(directory: Path | None) -> Atlas:
    from mert_backfill.atlas.search import Atlas

    options = ("--directory", str(directory)) if directory else ()
    front = ((directory or Path()) / CONFIG_FILE).is_file()
    announce_caller(Caller(front=front, cores=None if front else 2, options=options))
    return Atlas(Results((directory or Path()) / "results"))


def _choose(atlas: Atlas, text: str) -> list[int]:
    """Return the one track that a text means; ends the program where several fit."""
    from mert_backfill.atlas.search import Finder

    found = Finder(atlas.tracks).find(text)
    if len(found) == 1:
        return found
    print(
        f"{len(found):,} tracks fit {visible(repr(text))}; be more exact, or give a path:",
        file=sys.stderr,
    )
    for place in found[:_LISTED]:
        track = atlas.tracks[place]
        print(f"  {_name(track)}  {visible(track.path)}", file=sys.stderr)
    if len(found) > _LISTED:
        print(f"  and {len(found) - _LISTED:,} more", file=sys.stderr)
    raise typer.Exit(SEVERAL_FIT)


def _members(atlas: Atlas, playlist: Path) -> list[int]:
    """Return the tracks of a playlist; those that the atlas does not know are told."""
    from mert_backfill.atlas.playlist import read_playlist
    from mert_backfill.atlas.search import Finder

    finder, folder = Finder(atlas.tracks), str(playlist.absolute().parent)
    places: dict[int, None] = {}
    unknown = []
    for spellings in read_playlist(playlist):
        found = [finder.find_path(spelling, folder) for spelling in spellings]
        exact = next((those[0] for those in found if len(those) == 1), None)
        if exact is None:
            unknown.append(spellings[0])
        else:
            places[exact] = None
    if not places:
        raise UserError(f"{playlist}: none of its tracks is in the atlas, such as {unknown[0]!r}")
    if unknown:
        print(
            f"{counted(len(unknown), 'entry', 'entries')} of {visible(str(playlist))} are passed "
            f"over: no one track of the atlas fits, such as {visible(repr(unknown[0]))}",
            file=sys.stderr,
        )
    return list(places)


def _answer(
    atlas: Atlas,
    asked: dict[str, Any],
    key: str,
    title: str,
    tracks: Sequence[tuple[AtlasTrack, float | None]],
    as_json: bool,
) -> None:
    from mert_backfill.records.atlas import read_about, when_rebuilt
    from mert_backfill.system.tables import format_json

    about = read_about(atlas.results)
    note = about.note
    if about.meta_rebuilt < when_rebuilt(atlas.results):
        print(
            f"the atlas is older than meta.json; `{command('atlas')}` draws it anew",
            file=sys.stderr,
        )
    if as_json:
        records = [
            {"rank": rank, "cosine": cosine, **_record(track)}
            for rank, (track, cosine) in enumerate(tracks, 1)
        ]
        print(format_json({**asked, "note": note, key: records}, indent=2))
        return
    _print_table(title, tracks)
    if note:
        print(f"{note} What is near here need not sound alike.")


def _print_table(title: str, tracks: Sequence[tuple[AtlasTrack, float | None]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    folder = _folder_of_all([track.path for track, _ in tracks])
    table = Table(box=box.SIMPLE_HEAD, title=Text(title), title_justify="left")
    table.add_column("", justify="right")
    table.add_column("cosine", justify="right")
    for heading in ("artist", "title", f"path below {visible(folder)}" if folder else "path"):
        table.add_column(Text(heading), overflow="fold")
    for rank, (track, cosine) in enumerate(tracks, 1):
        words = (track.artist or "", track.title or "", track.path.removeprefix(folder))
        near = "" if cosine is None else f"{cosine:.3f}"
        table.add_row(str(rank), near, *(Text(visible(word)) for word in words))
    Console(highlight=False).print(table)


def _folder_of_all(paths: Sequence[str]) -> str:
    """Return the folder that holds all, with a slash; nothing where that is the whole disk."""
    try:
        folder = os.path.commonpath([os.path.dirname(path) for path in paths])
    except ValueError:  # none, or some are of other machines
        return ""
    return os.path.join(folder, "") if len(Path(folder).parts) > 1 else ""


def _write_playlist(
    file: Path | None, atlas: Atlas, tracks: Sequence[AtlasTrack], paths: Spelling | None
) -> None:
    from mert_backfill.atlas.playlist import write_playlist
    from mert_backfill.library.paths import PathStyle

    if file is None:
        return
    windows = PathStyle.of(track.meta_key for track in atlas.tracks).windows
    there = paths is Spelling.THERE or (paths is None and windows)
    for track in write_playlist(file, tracks, there=there):
        print(
            f"not in the playlist, for the line break in its name: {visible(track.path)}",
            file=sys.stderr,
        )


def _name(track: AtlasTrack) -> str:
    from mert_backfill.atlas.search import called

    return visible(called(track))


def _record(track: AtlasTrack) -> dict[str, Any]:
    names = ("track_id", "artist", "title", "path", "meta_key", "duration_s")
    return {name: getattr(track, name) for name in names}
