"""What the last scan was about."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from mert_backfill.library.listing import Listing, check_not_shrunken, list_library
from mert_backfill.library.roots import Root
from mert_backfill.results import Results
from mert_backfill.system.tables import read_json, write_json

# an earlier version has none of these
_LATER: Mapping[str, object] = {
    "holders": {},
    "mounts": [],
    "found_per_folder": {},
    "vector_folders": {},
    "theirs": {},
}


@dataclass(frozen=True)
class ScanState:
    """What the last scan was about.

    Attributes
    ----------
    fingerprint : str
        What made it run.
    key : str
        The part of it that stands for library, baseline, lists and settings.
    found_per_root : mapping
        Files found below each root, by root name.
    released : mapping
        Quarantined tracks that were put back into the manifest, and their attempts then.
    holders : mapping
        See `Listing.holders`.
    mounts : sequence of str
        See `Listing.mounts`.
    found_per_folder : mapping
        See `Listing.found_per_folder`.
    vector_folders : mapping
        The folders of the vectors that the baseline names, and a hash of what lay in each.
    theirs : mapping
        Tracks that lack a sidecar, and the kinds that their rows have already.
    """

    fingerprint: str = ""
    key: str = ""
    found_per_root: Mapping[str, int] = field(default_factory=dict)
    released: Mapping[str, int] = field(default_factory=dict)
    holders: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[str] = ()
    found_per_folder: Mapping[str, int] = field(default_factory=dict)
    vector_folders: Mapping[str, str] = field(default_factory=dict)
    theirs: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, results: Results) -> ScanState:
        """Read the state; a missing or damaged one is an empty one."""
        try:
            values = read_json(results.scan_state)
            values = {**_LATER, **values}
            return cls(**{name: values[name] for name in cls.__dataclass_fields__})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def list_library(
        self, roots: Sequence[Root], extensions: Collection[str], *, accept_shrunken: bool
    ) -> Listing:
        """List the library as it is now, refusing one that looks unmounted since the scan.

        Raises
        ------
        UserError
            A root is missing, or holds far fewer files than the scan found.
        """
        listing = list_library(roots, extensions, self.holders)
        check_not_shrunken(listing, self.found_per_root, accept_shrunken)
        return listing

    def doubted(self) -> ScanState:
        """Return the state for which a preview finds that the baseline's vectors have changed."""
        return replace(self, fingerprint="", vector_folders=dict.fromkeys(self.vector_folders, ""))

    def write(self, results: Results) -> None:
        """Write the state atomically."""
        write_json(results.scan_state, asdict(self))
