"""Whether the results folder belongs to the library that a run is about.

A library changes: its disk gets another path, a root is added or taken away, a meta.json comes to
it. It is the same one when

- a root lies where one lay before, or above or below that;
- or the meta.json is the same;
- or a root has a name of before, and of the tracks that were known a tenth is there: it has moved.

Everything else is another library, and the demo is another one than any of one's own.
"""

from __future__ import annotations

import errno
import heapq
import os
from itertools import chain, count, product
from pathlib import Path

from mert_backfill.errors import UserError
from mert_backfill.hints import command
from mert_backfill.library.listing import Listing, list_library
from mert_backfill.records.owner import Owner
from mert_backfill.results import Results
from mert_backfill.settings import Settings

_TRACKS = 200
_STILL_THERE = 0.1
_DEMO = (
    "the demo has room beside it: `snakemake --cores 2 --directory demo --configfile "
    "config/demo.yaml`"
)
_SECOND = (
    "a second library needs a folder of its own (--directory); if it is the same one after all, "
    "add --config accept_other_library=true"
)


def owner_of(settings: Settings, listing: Listing) -> Owner:
    """Return what is recorded of the library as it is now."""
    return Owner(
        roots=settings.library.roots,
        baseline=str(settings.meta.baseline or ""),
        is_demo=settings.is_demo,
        tracks=tuple(heapq.nsmallest(_TRACKS, (file.track_id for file in listing.files))),
        command=command(),
    )


def is_left_by_demo(settings: Settings) -> bool:
    """Tell whether the results are those of the demo, and the library is another one."""
    owner = Owner.read(settings.results)
    return owner is not None and owner.is_demo and not settings.is_demo


def check_owner(settings: Settings) -> None:
    """Refuse to mix two libraries in one results folder.

    Raises
    ------
    UserError
        The folder belongs to another library, other than the demo; names both, and the command
        of its last run.
    """
    owner = Owner.read(settings.results)
    if (
        owner is None
        or settings.accept_other_library
        or is_left_by_demo(settings)
        or _is_same(owner, settings)
    ):
        return
    asked = owner_of(settings, Listing((), (), (), ()))
    raise _taken(settings.results, owner, str(asked), _DEMO if settings.is_demo else _SECOND)


def check_room_for_demo(results: Results) -> None:
    """Refuse the demo, before it is made, in the results folder of another library.

    Raises
    ------
    UserError
        See `check_owner`.
    """
    owner = Owner.read(results)
    if owner is not None and not owner.is_demo:
        raise _taken(results, owner, "the demo", _DEMO)


def _taken(results: Results, owner: Owner, asked: str, cure: str) -> UserError:
    return UserError(
        f"{results.folder} holds the library {owner}; you asked for {asked}. Did you forget an "
        f"option? Its last run was `{owner.command}`. If not, {cure}"
    )


def demo_note(settings: Settings) -> str:
    """Say that a run moves the results of the demo; empty where there are none."""
    folder = _place_for_demo(settings)
    return f"a run moves the demo's results to {folder} first" if is_left_by_demo(settings) else ""


def set_demo_aside(settings: Settings) -> Path:
    """Move the results of the demo below ``demo``, and return where they are.

    Raises
    ------
    UserError
        They cannot be moved.
    """
    folder, place = settings.results.folder, _place_for_demo(settings)
    try:
        if folder.is_symlink() or folder.is_mount():  # to stay where it is
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        place.parent.mkdir(exist_ok=True)
        folder.rename(place)
    except OSError as error:
        raise UserError(
            f"{folder}: it holds the results of the demo, which cannot be moved to {place} "
            f"({error.strerror}); move or delete what is in it"
        ) from error
    return place


def _place_for_demo(settings: Settings) -> Path:
    demo = settings.demo / settings.results.folder.name
    numbered = (demo.with_name(f"{demo.name}-{number}") for number in count(2))
    return next(place for place in chain([demo], numbered) if not os.path.lexists(place))


def _is_same(owner: Owner, settings: Settings) -> bool:
    if owner.is_demo != settings.is_demo:
        return False
    if owner.baseline and owner.baseline == str(settings.meta.baseline):
        return True
    if any(
        one.path.is_relative_to(other.path) or other.path.is_relative_to(one.path)
        for one, other in product(owner.roots, settings.library.roots)
    ):
        return True
    names = {root.name for root in owner.roots}
    return not names.isdisjoint(root.name for root in settings.library.roots) and _is_there(
        owner, settings
    )


def _is_there(owner: Owner, settings: Settings) -> bool:
    """Tell whether the library has tracks of before, wherever it lies now."""
    listing = list_library(settings.library.roots, settings.library.extensions)
    known = {*owner.tracks}
    found = sum(file.track_id in known for file in listing.files)
    # an empty one is for those to refuse who know what an unmounted disk looks like
    return found >= _STILL_THERE * len(known) or not listing.files
