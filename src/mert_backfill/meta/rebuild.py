"""The rebuilt meta.json: the baseline, with the embeddings that were made here."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mert_backfill.errors import UserError
from mert_backfill.library.listing import AudioFile, Listing
from mert_backfill.library.meta_file import (
    HARMONIC_FEATURES,
    SECTION_VERSION,
    MetaFile,
    stale_meta_keys,
)
from mert_backfill.library.meta_text import MetaEdit, MetaText, RawJson, with_members
from mert_backfill.library.paths import PathMap
from mert_backfill.meta.changes import Known, carry_out, is_ours
from mert_backfill.meta.documents import MetaSource
from mert_backfill.meta.gone import Disk, check_mounts
from mert_backfill.records.journal import utc_now
from mert_backfill.records.scan_state import ScanState
from mert_backfill.records.tidied import (
    ArchivedRow,
    TidyChange,
    archive_rows,
    read_tidied,
    tidied_mark,
    write_tidied,
)
from mert_backfill.records.track_notes import TrackNote, read_track_notes
from mert_backfill.settings import Settings
from mert_backfill.store.named import NamedVectors
from mert_backfill.store.profile import Profile, provenance
from mert_backfill.store.sidecars import SidecarStore
from mert_backfill.store.tracks import open_track_store
from mert_backfill.store.vectors import VectorState, VectorStore, vector_state
from mert_backfill.system.atomic import write_text
from mert_backfill.system.remembered import Remembered
from mert_backfill.system.tables import format_json
from mert_backfill.tags import Tags, tags_from_name

logger = logging.getLogger(__name__)

Row = dict[str, Any]

_PROVENANCE = "embedding_provenance"


@dataclass(frozen=True)
class RebuildInputs:
    """All that meta.json is rebuilt from, read once.

    Attributes
    ----------
    baseline : MetaFile
        The meta.json to start from.
    files : sequence of AudioFile
        Every track of the library, in the order in which new rows are to appear.
    stale_keys : sequence of str
        Keys for which the library holds no file.
    vectors : VectorStore
        The vectors of the current profile.
    named : NamedVectors
        What the vectors are good for that the rows of the baseline name.
    profile : Profile
        The current profile; its name is written into ``embedding_profile``.
    path_map : PathMap
        Translates new keys and embedding paths into the baseline's spelling.
    notes : mapping
        Track id to what decoding the file told, such as its tags; its name serves others.
    stale_policy : {"keep", "archive", "prune"}
        Whether the rows of `stale_keys` stay. A row stays in any case whose file exists after
        all, outside the library, or may exist where nobody can look; see `Disk`.
    roots : sequence of str
        The folders of the library.
    sections : SidecarStore or None
        The windows' vectors: rows of tracks embedded under the profile refer to them, as
        ``embedding_intro``, ``embedding_core`` and ``embedding_late``, all three always, and then
        ``embedding_version``.
    tidied : sequence of TidyChange
        What was tidied before.
    harmonic : SidecarStore or None
        What the sounds are in tune with: it goes into the ``features`` of the same rows.
    sidecars_for_all : bool
        Both go into the rows of other vectors too, where these do not have them already.
    """

    baseline: MetaFile
    files: Sequence[AudioFile]
    stale_keys: Sequence[str]
    vectors: VectorStore
    named: NamedVectors
    profile: Profile
    path_map: PathMap
    notes: Mapping[str, TrackNote]
    stale_policy: Literal["keep", "archive", "prune"] = "keep"
    roots: Sequence[str] = ()
    sections: SidecarStore | None = None
    harmonic: SidecarStore | None = None
    sidecars_for_all: bool = False
    tidied: Sequence[TidyChange] = ()

    def meta_file(self, text: str) -> MetaFile:
        """Return what is made of the baseline, as a meta.json in its place."""
        parsed = MetaText(text)
        return MetaFile(
            parsed.document,
            text=parsed,
            embedding_base=self.baseline.embedding_base,
            path_map=self.path_map,
        )

    @property
    def known(self) -> Known:
        """What carrying out changes has to know of the library."""
        return Known(self.files, frozenset(self.stale_keys), self.path_map, self._counts)

    def _counts(self, row: Mapping[str, Any], path: Path) -> bool:
        if row.get("embedding_profile") == self.profile.name:
            return vector_state(path, self.vectors.dimension) is VectorState.VALID
        return self.named.state(path) is VectorState.VALID


@dataclass(frozen=True)
class Rebuilt:
    """A rebuilt meta.json and what was done to it.

    Attributes
    ----------
    text : str
        The whole new meta.json.
    filled_keys : tuple of str
        Rows of the baseline that got an embedding.
    added_keys : tuple of str
        New rows, of files that had none.
    removed : dict
        Stale rows that are in `text` no more, by key; empty under the policy "keep".
    tidied : tuple of TidyChange
        What was tidied: as it was carried out in `text`, or as it is on record where it does not
        hold any more.
    """

    text: str
    filled_keys: tuple[str, ...]
    added_keys: tuple[str, ...]
    removed: dict[str, RawJson]
    tidied: tuple[TidyChange, ...] = ()


def rebuild_library(settings: Settings, profile: Profile) -> Rebuilt:
    """Rebuild meta.json from the baseline and the store, and write it.

    What was tidied is carried out again, as far as it still holds.

    Raises
    ------
    UserError
        The baseline cannot be read, a root looks unmounted, over half of the rows would go, or
        the archive cannot be read.
    """
    inputs = read_rebuild_inputs(settings, profile)
    rebuilt = rebuild_meta(inputs)
    inputs.named.keep()
    write_rebuilt(settings, inputs, rebuilt)
    filled, added, removed = map(len, (rebuilt.filled_keys, rebuilt.added_keys, rebuilt.removed))
    logger.info("rows filled: %d, added: %d, removed: %d", filled, added, removed)
    return rebuilt


def write_rebuilt(settings: Settings, inputs: RebuildInputs, rebuilt: Rebuilt) -> None:
    """Write a rebuilt meta.json, and what goes with it.

    Whatever is interrupted, a row that is not in meta.json is on record: the record is written
    before, and goes after. ``source.json``, the last one, says which record meta.json goes with.

    Raises
    ------
    UserError
        Over half of the rows would go, or the archive cannot be read.
    """
    results = settings.results
    if not settings.accept_shrunken_library:
        _check_rows_stay(inputs, rebuilt)
    # who may not read the baseline may not read what is made of it
    access = settings.meta.baseline.stat() if settings.meta.baseline else None
    archive_rows(results.archived_rows, _archived(inputs, rebuilt), like=access)
    write_text(results.meta_base, inputs.baseline.text.text, like=access)
    undoes = len(rebuilt.tidied) < len(inputs.tidied)
    if not undoes:
        write_tidied(results.tidied, rebuilt.tidied, like=access)
    write_text(results.meta, rebuilt.text, like=access)
    if undoes:
        write_tidied(results.tidied, rebuilt.tidied, like=access)
    tidied = tidied_mark(results.tidied)
    MetaSource(str(settings.meta.baseline), inputs.baseline.sha256, tidied).write(
        results.meta_source
    )


def _archived(inputs: RebuildInputs, rebuilt: Rebuilt) -> Iterator[ArchivedRow]:
    """Yield the rows that left; under the policy "prune" those that somebody made something of."""
    for change in rebuilt.tidied:
        if change.change == "archive":
            row = change.before[change.meta_key]
            yield ArchivedRow(change.meta_key, row, change.evidence, change.at)
    for key, removed in rebuilt.removed.items():
        if inputs.stale_policy == "archive" or not is_ours(inputs.baseline.tracks[key]):
            yield ArchivedRow(key, removed.text, f"stale_policy: {inputs.stale_policy}", utc_now())


def _check_rows_stay(inputs: RebuildInputs, rebuilt: Rebuilt) -> None:
    gone, rows = len(rebuilt.removed), len(inputs.baseline.tracks)
    if 2 * gone > rows:
        raise UserError(
            f"meta.stale_policy: {inputs.stale_policy} would take {gone} of {rows} rows out of "
            f"meta.json, such as {next(iter(rebuilt.removed))!r}, whose files are not found; "
            "complete meta.path_map, set stale_policy to keep, or, if this is meant, add --config "
            "accept_shrunken_library=true"
        )


def read_rebuild_inputs(
    settings: Settings, profile: Profile, listing: Listing | None = None
) -> RebuildInputs:
    """Read what meta.json is rebuilt from; the library too, where it is not listed yet.

    Raises
    ------
    UserError
        The baseline cannot be read, or a root looks unmounted.
    """
    state = ScanState.read(settings.results)
    accept = settings.accept_shrunken_library
    if listing is None:
        listing = state.list_library(
            settings.library.roots, settings.library.extensions, accept_shrunken=accept
        )
    if settings.meta.stale_policy != "keep":
        check_mounts(state.mounts, accept=accept)
    baseline = MetaFile.load(
        settings.meta.baseline,
        embedding_base=settings.meta.embedding_base,
        path_map=settings.meta.path_map,
    )
    store = open_track_store(settings.results, profile, settings.embedding.sidecars)
    return RebuildInputs(
        baseline=baseline,
        files=listing.files,
        stale_keys=stale_meta_keys(listing, baseline),
        vectors=store.vectors,
        named=NamedVectors(
            profile.dimension, settings.meta.reembed, Remembered(settings.results.remembered)
        ),
        profile=profile,
        path_map=settings.meta.path_map,
        notes=read_track_notes(settings.results, profile.name),
        stale_policy=settings.meta.stale_policy,
        roots=[str(root.path) for root in settings.library.roots],
        sections=store.sidecar("sections"),
        harmonic=store.sidecar("harmonic"),
        sidecars_for_all=settings.embedding.sidecars_for == "all",
        tidied=read_tidied(settings.results.tidied),
    )


def rebuild_meta(inputs: RebuildInputs) -> Rebuilt:
    """Return the baseline with the embeddings of the store in it.

    Every row and field stays as it was, and in its order, but for the rows of tracks that were
    embedded here: those that name no embedding that counts (see `NamedVectors`) and whose vector
    in the store is valid. A file with such a vector and without a row gets one. Then what was
    tidied is carried out, and last leave the rows that the stale policy takes out. The baseline
    itself is not changed.
    """
    rows = _Rows(inputs)
    for file in inputs.files:
        rows.take(file)
    text = inputs.baseline.text.edited(MetaEdit(fields=rows.changed, added=rows.added))
    tidied = inputs.tidied
    if tidied:
        carried = carry_out(inputs.meta_file(text), tidied, inputs.known)
        text, tidied = carried.text, carried.log(tidied)
    return without_stale_rows(
        inputs, Rebuilt(text, tuple(rows.filled), tuple(rows.added), {}, tuple(tidied))
    )


def without_stale_rows(inputs: RebuildInputs, rebuilt: Rebuilt) -> Rebuilt:
    """Return a rebuilt meta.json without the rows that the stale policy takes out."""
    stale = _rows_to_remove(inputs)
    if not stale:
        return rebuilt
    text = MetaText(rebuilt.text)
    removed = {key: RawJson(text.row(key)) for key in stale if key in text.document["tracks"]}
    return replace(rebuilt, text=text.edited(MetaEdit(removed=removed)), removed=removed)


class _Rows:
    """The rows that change: `changed` and `added` by key, `filled` the keys of new embeddings."""

    def __init__(self, inputs: RebuildInputs) -> None:
        self._inputs = inputs
        self._style = inputs.baseline.style
        self.changed: dict[str, Row] = {}
        self.added: dict[str, Row] = {}
        self.filled: dict[str, None] = {}  # a set that keeps its order

    def take(self, file: AudioFile) -> None:
        """Give the rows of a file what was made of it here."""
        baseline = self._inputs.baseline
        keys = baseline.keys_of(file.path)
        profile = self._inputs.profile.name
        for key in keys:
            is_ours = baseline.tracks[key].get("embedding_profile") == profile
            if is_ours and _PROVENANCE not in baseline.tracks[key]:
                self._change(key, self._provenance(file))  # published by an earlier version
            if is_ours or (self._inputs.sidecars_for_all and baseline.has_embedding(key)):
                if not baseline.has_sections(key):
                    self._change(key, self._windows(file))
                if is_ours or not baseline.has_harmonic(key):
                    self._change(key, self._features(file, key))
        if any(key in self.filled or self._is_embedded(key, file) for key in keys):
            return
        if self._inputs.vectors.state(file.track_id) is not VectorState.VALID:
            return
        fields = self._embedding(file)
        for key in keys:
            self._change(key, {**fields, **self._features(file, key)})
            self.filled[key] = None
        if not keys:
            features = self._features(file, None)
            self.added[self._new_key(file)] = {**self._describe(file), **fields, **features}

    def _is_embedded(self, key: str, file: AudioFile) -> bool:
        """Tell whether what a row names counts, and is to stay."""
        baseline = self._inputs.baseline
        path = baseline.embedding_path(key)
        if path is None:
            return False
        is_ours = baseline.tracks[key].get("embedding_profile") == self._inputs.profile.name
        if is_ours and path.stem == file.track_id:
            return path.is_file() and not self._is_old_copy(path, file)
        return self._inputs.named.state(path) is VectorState.VALID

    def _is_old_copy(self, path: Path, file: AudioFile) -> bool:
        """Tell whether a copy that was published holds what our vector was before it changed."""
        vector = self._inputs.vectors.path(file.track_id)
        try:
            is_older = path.stat().st_mtime_ns < vector.stat().st_mtime_ns
            return is_older and path.read_bytes() != vector.read_bytes()
        except OSError:  # ours is not there: nothing to copy
            return False

    def _change(self, key: str, fields: Row) -> None:
        row = self._inputs.baseline.tracks[key]
        new = {name: value for name, value in fields.items() if row.get(name) != value}
        if new:
            self.changed.setdefault(key, {}).update(new)

    def _new_key(self, file: AudioFile) -> str:
        key = self._spell(file.path)
        # on this machine a\b and a/b are two files, there they are one
        return file.path if key in self.added or key in self._inputs.baseline.tracks else key

    def _describe(self, file: AudioFile) -> Row:
        note = self._inputs.notes.get(file.track_id)
        tags = note.tags if note is not None else Tags()
        from_name = tags_from_name(file.path)
        return {
            "artist": tags.artist or from_name.artist or "",
            "title": tags.title or from_name.title,
        }

    def _embedding(self, file: AudioFile) -> Row:
        return {
            "embedding": self._spell(self._inputs.vectors.path(file.track_id)),
            "embedding_source": "baseline",
            "embedding_profile": self._inputs.profile.name,
            **self._windows(file),
            **self._provenance(file),
        }

    def _provenance(self, file: AudioFile) -> Row:
        """Return the field that says how a track's vector was made; none of one that is gone."""
        note = self._inputs.notes.get(file.track_id)
        made_at = note.made_at if note is not None else None
        if made_at is None:  # its journal is gone
            try:
                written = self._inputs.vectors.path(file.track_id).stat().st_mtime
            except OSError:
                return {}
            made_at = datetime.fromtimestamp(written, UTC).isoformat()
        return {_PROVENANCE: provenance(self._inputs.profile, made_at)}

    def _windows(self, file: AudioFile) -> Row:
        """Return the fields that refer to the vectors of a track's windows, if they are there."""
        sections = self._inputs.sections
        if sections is None or sections.state(file.track_id) is not VectorState.VALID:
            return {}
        paths = sections.section_paths(file.track_id).items()
        refs = {f"embedding_{name}": self._spell(path) for name, path in paths}
        return refs | SECTION_VERSION

    def _features(self, file: AudioFile, key: str | None) -> Row:
        """Return the field with what a track is in tune with, if that is known.

        All other features of the row stay as they are written.
        """
        harmonic = self._inputs.harmonic
        if harmonic is None or harmonic.state(file.track_id) is not VectorState.VALID:
            return {}
        # a number of 32 bits, in as many digits as tell it from others
        numbers = [float(str(number)) for number in harmonic.read(file.track_id)]
        if np.isnan(numbers).any():
            return {}
        made: dict[str, list[float]] = {}
        for name, length in HARMONIC_FEATURES.items():
            made[name], numbers = numbers[:length], numbers[length:]
        baseline = self._inputs.baseline
        known = None if key is None else baseline.tracks[key].get("features")
        if key is None or known is None:
            return {"features": made}
        if not isinstance(known, dict) or known | made == known:
            return {}
        text = baseline.text.fields(key)["features"]
        texts = {name: format_json(values) for name, values in made.items()}
        return {"features": RawJson(with_members(text, texts))}

    def _spell(self, path: Path | str) -> str:
        return self._inputs.path_map.to_baseline(str(path), self._style)


def _rows_to_remove(inputs: RebuildInputs) -> list[str]:
    if inputs.stale_policy == "keep":
        return []
    disk = Disk(inputs.roots, inputs.path_map)
    return [key for key in inputs.stale_keys if disk.is_gone(key)]
