"""Which recipe made the vectors that a library has: some are made again, and compared.

The tracks go through the very processes of a chunk, on the same device and in the same precision;
their journal and store lie in a folder of their own, so that an interrupted calibration goes on
where it was.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from mert_backfill.audio.pool import DecoderPool
from mert_backfill.chunk.job import ChunkJob
from mert_backfill.chunk.supervisor import settle_tracks
from mert_backfill.chunk.worker import decoders_of
from mert_backfill.errors import UserError
from mert_backfill.hints import command
from mert_backfill.library.listing import Listing
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.library.path_lists import PathList, read_path_list
from mert_backfill.library.paths import TRACK_ID_DIGITS, PathMap
from mert_backfill.model.info import ModelInfo
from mert_backfill.recipes import RECIPES, THREE_WINDOWS, Recipe
from mert_backfill.records.calibration import (
    UNKNOWN,
    CalibratedRow,
    Calibration,
    CalibrationMark,
    Verdict,
    mark_vectors,
)
from mert_backfill.records.manifest import PendingTrack, write_manifest
from mert_backfill.records.scan_state import ScanState
from mert_backfill.settings import Settings
from mert_backfill.store.profile import Profile, make_profile
from mert_backfill.store.vectors import VectorState, read_array, vector_state

logger = logging.getLogger(__name__)

# |new - old| over the old vector's distance from the mean of all. The same recipe comes to 0.01,
# in bfloat16 to 0.11; the nearest other one to 0.42.
LARGEST_DISTANCE = 0.15
CLOSE_DISTANCE = 0.02
MEAN_OF = 1000
SHORTEST_S = THREE_WINDOWS.whole_below  # under it all recipes are the same
_TRIES = (
    50  # files looked at for each row that is wanted: a folder of samples has none that will do
)
_SPREAD = 1e-4  # of its length: a vector that is nearer to the mean than this has no distance


@dataclass(frozen=True)
class BaselineVector:
    """A vector that the baseline names, and the file of its track; None where that is not here."""

    meta_key: str
    path: str | None
    vector: Path
    mtime_ns: int


@dataclass(frozen=True, eq=False)
class _Made:
    """A baseline vector, and what the configured recipe makes of its track."""

    of: BaselineVector
    track: PendingTrack
    old: np.ndarray
    new: np.ndarray


# given tracks, returns the ids of those that are long enough to tell recipes apart
Measure = Callable[[Sequence[PendingTrack]], Collection[str]]
# given a recipe and tracks, returns the vectors of those that could be embedded, by their ids
Embed = Callable[[Recipe, Sequence[PendingTrack]], Mapping[str, np.ndarray]]


def calibrate_library(
    settings: Settings, model: ModelInfo, threads: int, log: Path | None
) -> Calibration:
    """Find out which recipe made the baseline's vectors, and write it down.

    Parameters
    ----------
    settings : Settings
        The configuration.
    model : ModelInfo
        The model.
    threads : int
        Threads of the model's arithmetic.
    log : Path or None
        The log file that the model's process appends to.

    Raises
    ------
    UserError
        The baseline or the library cannot be read, the device or its precision cannot be used, or
        a track could be embedded by one recipe and not by another.
    ChunkStopped
        The model's process stopped with a user error, and has told it.
    """
    results = settings.results
    profile = make_profile(RECIPES[settings.embedding.profile], model)
    vectors = read_baseline_vectors(settings, profile)

    def job_of(recipe: Recipe) -> ChunkJob:
        return ChunkJob(
            name=f"calibration-{recipe.name}",
            results=results.calibration_work,
            roots=settings.library.roots,
            model=model,
            profile=make_profile(recipe, model),
            runtime=settings.runtime,
            checkpoint_every=1,
            sidecars=(),
            released={},
            threads=threads,
            home=results,
        )

    def measure(tracks: Sequence[PendingTrack]) -> Collection[str]:
        job = job_of(profile.recipe)
        known = {track.track_id for track in tracks if job.store.is_complete(track.track_id)}
        left = [(track.track_id, track.path) for track in tracks if track.track_id not in known]
        if not left:
            return known
        workers = decoders_of(job.runtime, threads)
        decoder = DecoderPool(workers, timeout_s=job.runtime.track_timeout_s, recipe=profile.recipe)
        with decoder as pool:
            decoded = [(result.track_id, result.prepared) for result in pool.decode(left)]
        return known | {id_ for id_, track in decoded if track and track.duration_s >= SHORTEST_S}

    def embed(recipe: Recipe, tracks: Sequence[PendingTrack]) -> Mapping[str, np.ndarray]:
        job = job_of(recipe)
        if not all(job.store.is_complete(track.track_id) for track in tracks):
            write_manifest(job.table, tracks)
            settle_tracks(job, log)
        store = job.store
        made = [track.track_id for track in tracks if store.is_complete(track.track_id)]
        return {track_id: store.vectors.read(track_id) for track_id in made}

    wanted = settings.calibration.tracks
    made = compare_vectors(vectors, profile, wanted, measure, embed)
    rows = tuple(row for _, row in made)
    verdict = judge([row.recipe for row in rows], profile.recipe.name)
    found = Calibration(profile.name, profile.model_name, verdict, rows)
    found.write(results)
    CalibrationMark(
        baseline=str(settings.meta.baseline),
        profile=profile.name,
        tracks=wanted,
        library=ScanState.read(results).key,
        vectors=mark_vectors(str(vector.vector) for vector, _ in made),
    ).write(results)
    for line in (found.told, *(found.table() if found.stops else ())):
        logger.info("%s", line)
    return found


def read_baseline_vectors(settings: Settings, profile: Profile) -> list[BaselineVector]:
    """Return the vectors that the baseline names and that were not made here; the oldest first."""
    meta, library = settings.meta, settings.library
    baseline = MetaFile.load(
        meta.baseline, embedding_base=meta.embedding_base, path_map=meta.path_map
    )
    listing = ScanState.read(settings.results).list_library(
        library.roots, library.extensions, accept_shrunken=settings.accept_shrunken_library
    )
    excluded = (
        read_path_list(library.exclude_file, meta.path_map, globs=True)
        if library.exclude_file
        else None
    )
    return find_baseline_vectors(baseline, listing, excluded, meta.path_map, profile.name)


def find_baseline_vectors(
    baseline: MetaFile,
    listing: Listing,
    excluded: PathList | None,
    path_map: PathMap,
    profile: str,
) -> list[BaselineVector]:
    """Return the vectors that rows name, one for each track; the oldest first.

    Parameters
    ----------
    baseline : MetaFile
        The rows.
    listing : Listing
        The library, which finds files in whatever way a row spells them.
    excluded : PathList or None
        Files that are never embedded.
    path_map : PathMap
        Finds the files of rows outside the library.
    profile : str
        Rows with a vector of this profile are left out: how it was made is known.
    """
    listed = {key: file.path for file in listing.files for key in baseline.keys_of(file.path)}
    found: dict[Path, BaselineVector] = {}
    for keys in baseline.comparison_keys().values():
        for key in keys:
            vector = baseline.embedding_path(key)
            if vector is None or baseline.tracks[key].get("embedding_profile") == profile:
                continue
            try:
                mtime_ns = vector.stat().st_mtime_ns
            except OSError:
                continue
            path = listed.get(key) or _file_of(path_map.to_local(key))
            if path is not None and excluded is not None and excluded.contains(path):
                path = None
            found.setdefault(vector, BaselineVector(key, path, vector, mtime_ns))
            break
    return sorted(found.values(), key=lambda vector: (vector.mtime_ns, str(vector.vector)))


def _file_of(path: str) -> str | None:
    return path if os.path.isabs(path) and os.path.isfile(path) else None


def compare_vectors(
    vectors: Sequence[BaselineVector],
    profile: Profile,
    wanted: int,
    measure: Measure,
    embed: Embed,
) -> list[tuple[BaselineVector, CalibratedRow]]:
    """Embed some of the baseline's tracks again, and tell which recipe made the vector of each.

    Parameters
    ----------
    vectors : sequence of BaselineVector
        What there is to choose from, the oldest first.
    profile : Profile
        The profile that new vectors are made under. Other recipes are tried where it does not
        match.
    wanted : int
        How many tracks.
    measure, embed : callable
        Decode and embed.

    Returns
    -------
    list of tuple
        Each vector with its row; fewer than wanted, or none, where not more can be used.

    Raises
    ------
    UserError
        A track could be embedded by one recipe and not by another.
    """
    mean = mean_vector([vector.vector for vector in vectors], profile.dimension)
    if mean is None:
        return []

    def make(proposed: Sequence[BaselineVector]) -> dict[BaselineVector, _Made]:
        tried = [
            (vector, track, old)
            for vector in proposed
            if (old := _read_vector(vector.vector, profile.dimension)) is not None
            and np.linalg.norm(old - mean) > _SPREAD * np.linalg.norm(old)
            and (track := _as_track(vector)) is not None
        ]
        will_do = measure([track for _, track, _ in tried]) if tried else ()
        tracks = [track for _, track, _ in tried if track.track_id in will_do]
        made = embed(profile.recipe, tracks) if tracks else {}
        return {
            vector: _Made(vector, track, old, made[track.track_id])
            for vector, track, old in tried
            if track.track_id in made
        }

    chosen = choose([vector for vector in vectors if vector.path is not None], wanted, make)
    distances = [{profile.recipe.name: _distance(one.new, one.old, mean)} for one in chosen]
    again = _rows_to_try_again([found[profile.recipe.name] for found in distances])
    for recipe in RECIPES.values():
        if not again or recipe == profile.recipe:
            continue
        made = embed(recipe, [chosen[index].track for index in again])
        for index in again:
            one = chosen[index]
            if one.track.track_id not in made:
                raise UserError(
                    f"calibration: {one.track.path!r} could not be embedded by {recipe.name}; see "
                    f"the log, and run `{command()}` again, or leave calibration out: "
                    f"`{command(config='calibration={tracks: 0}')}`"
                )
            distances[index][recipe.name] = _distance(made[one.track.track_id], one.old, mean)
    return [(one.of, _as_row(one.of, found)) for one, found in zip(chosen, distances, strict=True)]


def _rows_to_try_again(distances: Sequence[float]) -> list[int]:
    """Return the rows that the other recipes are tried on: those that the configured one misses.

    Where there is one, the mean lies between two kinds of vectors, far from all of them, and a
    distance from it makes two recipes seem nearer to each other than they are: then those that
    match, but not closely, are tried too.
    """
    matches = all(distance <= LARGEST_DISTANCE for distance in distances)
    limit = LARGEST_DISTANCE if matches else CLOSE_DISTANCE
    return [index for index, distance in enumerate(distances) if distance > limit]


def choose(
    vectors: Sequence[BaselineVector],
    wanted: int,
    make: Callable[[Sequence[BaselineVector]], Mapping[BaselineVector, _Made]],
) -> list[_Made]:
    """Return what can be made of vectors that are spread evenly over the sequence.

    Where one cannot be used, those beside it are tried, the nearest first.
    """
    places = spread(len(vectors), wanted)
    kept: dict[int, _Made] = {}
    tried: set[int] = set()
    while len(kept) < len(places) and len(tried) < _TRIES * wanted:
        proposed: dict[int, BaselineVector] = {}
        for place in places:
            nearest = next(_untried(place, tried, len(vectors)), None)
            if place not in kept and nearest is not None:
                tried.add(nearest)
                proposed[place] = vectors[nearest]
        if not proposed:
            break
        made = make(list(proposed.values()))
        kept |= {place: made[vector] for place, vector in proposed.items() if vector in made}
    return sorted(kept.values(), key=lambda one: (one.of.mtime_ns, str(one.of.vector)))


def spread(count: int, wanted: int) -> list[int]:
    """Return `wanted` places among `count` that are evenly apart; of one, the last."""
    if count <= wanted:
        return list(range(count))
    if wanted == 1:
        return [count - 1]
    return [round(place * (count - 1) / (wanted - 1)) for place in range(wanted)]


def _untried(place: int, tried: Collection[int], count: int) -> Iterator[int]:
    for step in range(count):
        for index in (place + step, place - step):
            if 0 <= index < count and index not in tried:
                yield index


def mean_vector(paths: Sequence[Path], dimension: int) -> np.ndarray | None:
    """Return the mean [shape=(D,), float64] of up to `MEAN_OF` vectors; None where none is usable.

    They are spread evenly over the sequence, so that the same files give the same mean.
    """
    chosen = (paths[place] for place in spread(len(paths), MEAN_OF))
    usable = [v for path in chosen if (v := _read_vector(path, dimension)) is not None]
    return np.mean(usable, axis=0) if usable else None


def judge(found: Sequence[str], configured: str) -> Verdict:
    """Return what the recipes of the rows say together."""
    if not found:
        return "none"
    if UNKNOWN in found:
        return "unknown"
    if len(set(found)) > 1:
        return "mixture"
    return "match" if found[0] == configured else "other"


def _as_row(vector: BaselineVector, distances: Mapping[str, float]) -> CalibratedRow:
    nearest = min(distances, key=lambda recipe: distances[recipe])
    return CalibratedRow(
        meta_key=vector.meta_key,
        path=str(vector.path),
        recipe=nearest if _matches(distances) else UNKNOWN,
        distances={recipe: round(value, 6) for recipe, value in distances.items()},
        vector_mtime=datetime.fromtimestamp(vector.mtime_ns / 1e9, UTC).isoformat(),
    )


def _matches(distances: Mapping[str, float]) -> bool:
    return min(distances.values()) <= LARGEST_DISTANCE


def _distance(new: np.ndarray, old: np.ndarray, mean: np.ndarray) -> float:
    return float(np.linalg.norm(new.astype(np.float64) - old) / np.linalg.norm(old - mean))


def _read_vector(path: Path, dimension: int) -> np.ndarray | None:
    if vector_state(path, dimension) is not VectorState.VALID:
        return None
    vector = read_array(path)
    return vector.astype(np.float64) if isinstance(vector, np.ndarray) else None


def _as_track(vector: BaselineVector) -> PendingTrack | None:
    """Return a file as a track whose id changes with it: it is embedded anew then."""
    path = str(vector.path)
    try:
        stat = os.stat(path)
    except OSError:
        return None
    mark = f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}".encode("utf-8", "surrogateescape")
    identity = hashlib.sha256(mark).hexdigest()[:TRACK_ID_DIGITS]
    return PendingTrack(
        identity, path, "calibration", vector.meta_key, stat.st_size, stat.st_mtime_ns
    )
