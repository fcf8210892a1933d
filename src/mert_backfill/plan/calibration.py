"""Whether the vectors of meta.json and new ones compare: what is known of it, and what follows."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from mert_backfill.errors import UserError
from mert_backfill.hints import command
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.plan.inputs import ScanInputs
from mert_backfill.records.calibration import Calibration, last_calibration, recall_calibration
from mert_backfill.settings import Settings
from mert_backfill.store.profile import Profile
from mert_backfill.words import counted

logger = logging.getLogger(__name__)

_ACCEPT = "accept_calibration=true"


@dataclass(frozen=True)
class Outlook:
    """What calibration means for the run to come.

    Attributes
    ----------
    is_due : bool
        It comes before the next chunk.
    stops : bool
        What it has found keeps chunks from being planned.
    note : str
        What a preview tells of it, in one line, or nothing.
    """

    is_due: bool = False
    stops: bool = False
    note: str = ""


def look_ahead(inputs: ScanInputs, key: str, pending: int) -> Outlook:
    """Tell whether a calibration comes, or what is remembered of one.

    Parameters
    ----------
    inputs : ScanInputs
        What was read.
    key : str
        See `ScanState`.
    pending : int
        Tracks that are left for the model; without any nothing has to be proved.
    """
    settings = inputs.settings
    wanted = settings.calibration.tracks
    if settings.meta.baseline is None or not wanted:
        return Outlook()
    found = _recall(inputs, key)
    if found is not None:
        if not (found.stops and pending) or _makes_all_anew(settings):
            return Outlook(note=found.told)
        if settings.calibration.accept:
            return Outlook(note=f"{found.told}; accepted")
        return Outlook(stops=True, note=f"{found.told}: a run stops before its first chunk")
    if not pending or _makes_all_anew(settings):
        return Outlook()
    named = (file for file in inputs.listing.files if _names_vector(inputs.baseline, file.path))
    tracks = len(list(islice(named, wanted)))
    if not tracks:
        return Outlook(is_due=True)  # it says so in its file
    return Outlook(
        is_due=True,
        note=(
            f"a calibration of up to {counted(tracks, 'track')} comes first: meta.json names "
            f"vectors of them, and whether {settings.embedding.profile} made those is found out "
            "by embedding them again"
        ),
    )


def _names_vector(baseline: MetaFile, path: str) -> bool:
    return any(map(baseline.has_embedding, baseline.keys_of(path)))


def _makes_all_anew(settings: Settings) -> bool:
    """Tell whether no old vector is left for new ones to compare with."""
    return settings.meta.reembed == "all"


def _recall(inputs: ScanInputs, key: str) -> Calibration | None:
    settings = inputs.settings
    remembered = recall_calibration(
        settings.results,
        str(settings.meta.baseline),
        inputs.profile.name,
        settings.calibration.tracks,
        key,
    )
    if remembered is None:
        return None
    found, vectors = remembered
    # what stops a run is looked at again once the rows name other vectors
    if found.stops and not _still_named(found, vectors, inputs.baseline):
        return None
    return found


def _still_named(found: Calibration, vectors: tuple[str, ...], baseline: MetaFile) -> bool:
    return all(
        row.meta_key in baseline.tracks and str(baseline.embedding_path(row.meta_key)) == vector
        for row, vector in zip(found.rows, vectors, strict=True)
    )


def check_calibration(settings: Settings, profile: Profile) -> None:
    """Refuse to plan chunks whose vectors would not compare with those of meta.json.

    Raises
    ------
    UserError
        The last calibration says so, and this was not accepted; the ways on were told.
    """
    found = last_calibration(settings.results, str(settings.meta.baseline), profile.name)
    is_off = not settings.calibration.tracks or _makes_all_anew(settings)
    if is_off or found is None or not found.stops:
        return
    if settings.calibration.accept:
        logger.warning("calibration: %s; going on, as accept_calibration says", found.told)
        return
    for line in (*found.table(), *_ways_on(found)):
        logger.warning("%s", line)
    raise UserError(
        f"calibration: {found.told}. {_meaning(found)} Nothing was embedded, and nothing is lost: "
        "choose one of the ways on above"
    )


def _meaning(found: Calibration) -> str:
    """Return what it would mean to go on."""
    if found.verdict == "unknown":
        return (
            "Another model, other weights or another program made them, or their files were "
            f"replaced since: new vectors of {found.profile} would not compare with them, and in "
            "one index they would be two libraries, in which similar tracks are not found."
        )
    return (
        f"Vectors of two recipes do not compare: with new ones of {found.recipe} meta.json would "
        "hold two libraries in one index, in which similar tracks are not found."
    )


def _ways_on(found: Calibration) -> Iterator[str]:
    """Yield the three ways on, each with the line to type."""
    yield "the ways on, each with the line to type:"
    newest = found.newest_recipe
    if found.verdict == "unknown":
        yield (
            "1. name the model that made the vectors (model.name, model.revision): "
            f"{command(config='model={name: FOLDER_OR_ID}')}"
        )
    elif found.verdict == "other":
        line = command(config=_profile(newest))
        yield f"1. follow the library, with {newest} (embedding.profile): {line}"
    elif newest == found.recipe:
        yield f"1. follow the newest vectors, with {newest} as now: {command(config=_ACCEPT)}"
    else:
        line = command(config=(_profile(newest), _ACCEPT))
        yield f"1. follow the newest vectors, with {newest} (embedding.profile): {line}"
    yield (
        f"2. make all vectors anew with {found.recipe}, for one recipe in the whole library: "
        f"{command(config='meta={reembed: all}')}"
    )
    yield f"3. go on as it is; the audit keeps saying so: {command(config=_ACCEPT)}"


def _profile(recipe: str) -> str:
    return f"embedding={{profile: {recipe}}}"
