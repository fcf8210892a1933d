"""The job of this wing: reads its inputs once, at its door, and writes the files of the atlas."""

from __future__ import annotations

import logging
from collections import Counter

from mert_backfill.atlas.duplicates import find_duplicates
from mert_backfill.atlas.index import write_index
from mert_backfill.atlas.map import place_tracks, year_of
from mert_backfill.atlas.neighbors import find_neighbors, take_mean
from mert_backfill.atlas.table import Origin, Table, TableInputs, make_table
from mert_backfill.audio.tags import read_facts
from mert_backfill.errors import UserError
from mert_backfill.hints import command
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.records.atlas import (
    About,
    DuplicateRow,
    when_rebuilt,
    write_duplicates,
    write_library,
    write_map,
    write_neighbors,
)
from mert_backfill.records.calibration import last_calibration
from mert_backfill.records.scan_state import ScanState
from mert_backfill.records.track_notes import read_track_notes
from mert_backfill.records.tracks import read_sounds
from mert_backfill.results import Results
from mert_backfill.settings import Settings
from mert_backfill.store.profile import Profile
from mert_backfill.store.vectors import open_store
from mert_backfill.words import counted

logger = logging.getLogger(__name__)

_MEGABYTE = 1_000_000


def make_atlas(settings: Settings, profile: Profile, threads: int = 1) -> None:
    """Write the files of the atlas.

    Parameters
    ----------
    settings : Settings
        The configuration.
    profile : Profile
        The profile of the vectors that are in it.
    threads : int > 0
        How many threads build an index; numpy takes as many as the environment lets it.

    Raises
    ------
    UserError
        An input cannot be read, a root looks unmounted, or no track has a vector.
    """
    results = settings.results
    inputs = read_table_inputs(settings, profile)
    table = make_table(inputs)
    about = About(
        profile=profile.name,
        note=profile.note,
        meta_rebuilt=when_rebuilt(results),
        left_out=table.left_out,
    )
    _tell(table, about, is_open=inputs.calibration is None)
    if not table.tracks:
        raise UserError(
            f"{results.meta}: no row has a usable vector of {profile.name}; run `{command()}`"
        )
    write_library(results, table.tracks, table.vectors, about)
    write_index(results, [track.meta_key for track in table.tracks], table.vectors, threads)
    take_mean(table.vectors)  # in place: a copy would take another gigabyte
    neighbors = find_neighbors(table.vectors, threads=threads)
    duplicates = find_duplicates(table, table.vectors, neighbors, inputs.sounds, read_facts)
    write_duplicates(results, duplicates)
    _tell_duplicates(results, duplicates)
    about = about.with_recall(neighbors.recall)
    write_neighbors(results, table.tracks, neighbors, about)
    rows = (inputs.meta.tracks[track.meta_key] for track in table.tracks)
    places = place_tracks(table.vectors, neighbors)
    write_map(results, table.tracks, places, [*map(year_of, rows)], about)


def read_table_inputs(settings: Settings, profile: Profile) -> TableInputs:
    """Read what the atlas is made from.

    Raises
    ------
    UserError
        The rebuilt meta.json cannot be read, or a root looks unmounted.
    """
    results, baseline = settings.results, settings.meta.baseline
    listing = ScanState.read(results).list_library(
        settings.library.roots,
        settings.library.extensions,
        accept_shrunken=settings.accept_shrunken_library,
    )
    meta = MetaFile.load(
        results.meta,
        # relative references in it are the baseline's
        embedding_base=settings.meta.embedding_base
        or (baseline.absolute().parent.parent if baseline else None),
        path_map=settings.meta.path_map,
        called="the rebuilt meta.json",
    )
    calibration = last_calibration(results, str(baseline), profile.name)
    if calibration is not None and calibration.verdict == "none":
        calibration = None
    return TableInputs(
        meta=meta,
        listing=listing,
        roots=settings.library.roots,
        path_map=settings.meta.path_map,
        store=open_store(results, profile),
        profile=profile.name,
        notes=read_track_notes(results),
        sounds=read_sounds(results),
        recipe=profile.recipe.name,
        calibration=calibration,
        # an accepted calibration that found another recipe proves that they do not compare
        is_trusted=settings.calibration.accept and calibration is None,
    )


def _tell(table: Table, about: About, *, is_open: bool) -> None:
    left_out = Counter(table.left_out)
    logger.info(
        "tracks in the atlas: %d, from the meta.json of %s", len(table.tracks), about.meta_rebuilt
    )
    if about.note:
        logger.warning("%s", about.note)
    if count := left_out[Origin.UNKNOWN]:
        logger.warning(
            "%s left out: nothing proves that %s of %s; %s`meta.reembed: all` makes new ones",
            counted(count, "track is", "tracks are"),
            "its old vector is" if count == 1 else "their old vectors are",
            about.profile,
            f"`{command('calibrate')}` looks for proof, `--config accept_calibration=true` goes "
            "without, and "
            if is_open
            else "",
        )
    if count := left_out[Origin.OTHER]:
        logger.warning(
            "%s left out, with a vector of another recipe or model; `meta.reembed: all` makes "
            "new ones",
            counted(count, "track is", "tracks are"),
        )


def _tell_duplicates(results: Results, rows: list[DuplicateRow]) -> None:
    kept = [row for row in rows if row.proposal == "keep"]
    logger.info(
        "groups of near-duplicates: %d; all but one of each take %.1f MB; see %s",
        len(kept),
        sum(row.spare_bytes or 0 for row in kept) / _MEGABYTE,
        results.near_duplicates,
    )
