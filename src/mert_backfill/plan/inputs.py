"""What a preview and a scan decide by, read once, at the door."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

from mert_backfill.errors import UserError
from mert_backfill.library.listing import AudioFile, Listing
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.library.path_lists import PathList, read_path_list
from mert_backfill.library.quarantine_list import QuarantineList
from mert_backfill.plan.chunks import Plan, planned_files, read_plan
from mert_backfill.records.ledger import Ledger, read_ledger
from mert_backfill.records.origins import FileStamp, stamp_of
from mert_backfill.records.quarantine import read_quarantine
from mert_backfill.records.scan_state import ScanState
from mert_backfill.records.summary import Summary, read_summary
from mert_backfill.records.tracks import Recorded, recorded_tracks
from mert_backfill.settings import Settings
from mert_backfill.store.named import NamedVectors
from mert_backfill.store.profile import Profile
from mert_backfill.store.sidecars import SidecarKind
from mert_backfill.store.tracks import Need, StoreSnapshot, open_track_store
from mert_backfill.system.remembered import Remembered
from mert_backfill.system.tables import read_jsonl

# what is remembered of a track whose vector an earlier version made: that, and of which file it
# counts as made (profile, track; and size, mtime)
_ADOPTED_TRACK, _ADOPTED_FILE = "adopted track", "adopted file"


@dataclass(frozen=True)
class FileMark:
    """A file by its path, size and time."""

    path: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, eq=False)
class ScanInputs:
    """All that a preview or a scan decides by.

    What is large and not always asked for (the rows of the baseline, the journals, the tables)
    is read at the first question, and kept: nothing is read twice.

    Attributes
    ----------
    settings : Settings
        The configuration.
    profile : Profile
        The profile of the store.
    state : ScanState
        What the last scan was about.
    listing : Listing
        The library; it does not look unmounted.
    baseline_mark : FileMark or None
        Size and time of the baseline.
    exclude, only : PathList or None
        ``exclude_file`` and ``paths_file``.
    quarantine : QuarantineList or None
        ``meta.quarantine_file``.
    store : StoreSnapshot
        What the store holds.
    """

    settings: Settings
    profile: Profile
    state: ScanState
    listing: Listing
    baseline_mark: FileMark | None
    exclude: PathList | None
    only: PathList | None
    quarantine: QuarantineList | None
    store: StoreSnapshot

    @cached_property
    def baseline(self) -> MetaFile:
        """The rows of the baseline."""
        meta = self.settings.meta
        return MetaFile.load(
            meta.baseline, embedding_base=meta.embedding_base, path_map=meta.path_map
        )

    @cached_property
    def ledger(self) -> Ledger:
        """What became of the tracks that any chunk has worked on."""
        return read_ledger(self.settings.results, self.profile.name)

    @cached_property
    def remembered(self) -> Remembered:
        """What earlier runs have found out; what this one learns a run keeps, no preview."""
        return Remembered(self.settings.results.remembered)

    @cached_property
    def named(self) -> NamedVectors:
        """What the vectors are good for that the rows of the baseline name."""
        meta = self.settings.meta
        return NamedVectors(self.profile.dimension, meta.reembed, self.remembered)

    @cached_property
    def _planned_files(self) -> Mapping[str, FileStamp]:
        return planned_files(self.settings.results)

    def vector_folders(self) -> set[str]:
        """Return the folders of the vectors that rows of listed files name, those of ours not."""
        ours = os.path.join(self.settings.results.embeddings, "")
        folders: set[str] = set()
        for file in self.listing.files:
            named = self.baseline.embeddings_of(self.baseline.keys_of(file.path))
            folders |= {str(path.parent) for path in named if path.stem != file.track_id}
        return {folder for folder in folders if not folder.startswith(ours)}

    def is_changed(self, file: AudioFile) -> bool:
        """Tell whether a file is not as it was when the store's vector of its track was made.

        Earlier versions did not note that. What they made counts as made of the file of the plan
        that there still is, else of the file as it was seen for the first time.
        """
        made_of = self.ledger.made_of.get(file.track_id)
        if made_of is not None:
            return made_of != stamp_of(file)
        of_track = (self.profile.name, file.track_id)
        known = self.remembered
        if not known.knows(_ADOPTED_TRACK, *of_track):
            adopted = self._planned_files.get(file.track_id, stamp_of(file))
            known.learn(_ADOPTED_TRACK, *of_track)
            known.learn(_ADOPTED_FILE, *of_track, *adopted)
        return not known.knows(_ADOPTED_FILE, *of_track, *stamp_of(file))

    def has_vector(self, track_id: str) -> bool:
        """Tell whether the store holds what the plan wants of a planned track."""
        plan = self.plan
        is_vector_needed = plan is None or track_id not in plan.sidecars_only
        need = Need(is_vector_needed, frozenset(self.state.theirs.get(track_id, ())))
        if not self.store.is_complete(track_id, need):
            return False
        changed = None if self.plan is None else self.plan.changed.get(track_id)
        return changed is None or self.ledger.made_of.get(track_id) == changed

    def theirs(self, file: AudioFile) -> frozenset[SidecarKind]:
        """Return the kinds of sidecar that the rows of a file with another's vector have."""
        baseline = self.baseline
        keys = baseline.keys_of(file.path)
        named = (path for path in baseline.embeddings_of(keys) if path.stem != file.track_id)
        if not any(path.is_file() for path in named):
            return frozenset()
        found: set[SidecarKind] = set()
        for key in keys:
            if baseline.has_sections(key):
                found.add("sections")
            if baseline.has_harmonic(key):
                found.add("harmonic")
        return frozenset(found)

    @cached_property
    def plan(self) -> Plan | None:
        """The current plan, if there is one."""
        return read_plan(self.settings.results)

    @cached_property
    def unresolved(self) -> list[tuple[str, int]]:
        """The tracks of a plan that was done which failed for reasons that may pass.

        With each track its attempts so far.
        """
        if self.plan is None or not self.plan.is_done:
            return []
        records = chain.from_iterable(
            read_jsonl(self.settings.results.chunk_failures(name)) for name in self.plan.tracks
        )
        return sorted(
            (record["track_id"], record["attempts"])
            for record in records
            if not record.get("permanent", True)
        )

    @cached_property
    def summary(self) -> Summary:
        """What the last scan counted."""
        return read_summary(self.settings.results.summary)

    @cached_property
    def recorded(self) -> Mapping[str, Recorded]:
        """The tracks that finished chunks brought; see `recorded_tracks`."""
        kinds = self.settings.embedding.sidecars
        return recorded_tracks(self.settings.results, self.profile.name, kinds)


def read_inputs(settings: Settings, profile: Profile) -> ScanInputs:
    """Read what a preview or a scan decides by.

    Raises
    ------
    UserError
        A root is missing or looks unmounted, the baseline or a list cannot be read.
    """
    state = ScanState.read(settings.results)
    return ScanInputs(
        settings=settings,
        profile=profile,
        state=state,
        listing=state.list_library(
            settings.library.roots,
            settings.library.extensions,
            accept_shrunken=settings.accept_shrunken_library,
        ),
        baseline_mark=_mark_baseline(settings.meta.baseline),
        exclude=_read_list(settings, settings.library.exclude_file, globs=True),
        only=_read_list(settings, settings.library.paths_file, globs=False),
        quarantine=read_quarantine(
            settings.meta.quarantine_file, settings.results, settings.meta.path_map
        ),
        store=StoreSnapshot(
            open_track_store(settings.results, profile, settings.embedding.sidecars)
        ),
    )


def _mark_baseline(path: Path | None) -> FileMark | None:
    if path is None:
        return None
    try:
        stat = os.stat(path)
    except OSError as error:
        raise UserError(
            f"meta.baseline: {path}: {error.strerror}; correct the path, or set it to null"
        ) from error
    return FileMark(str(path), stat.st_size, stat.st_mtime_ns)


def _read_list(settings: Settings, path: Path | None, *, globs: bool) -> PathList | None:
    return None if path is None else read_path_list(path, settings.meta.path_map, globs=globs)
