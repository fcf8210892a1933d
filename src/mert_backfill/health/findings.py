"""What an audit finds beside its counters: one sound in several files, vectors out of sight."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from mert_backfill.library.listing import AudioFile
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.library.paths import is_windows, with_slashes


def same_sound(
    files: Sequence[AudioFile], sounds: Mapping[str, str]
) -> tuple[tuple[str, ...], ...]:
    """Return the paths of the files that hold one sound, group by group.

    Parameters
    ----------
    files : sequence of AudioFile
        The library.
    sounds : mapping
        Track id to the hash of its sound, as far as that is known.
    """
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for file in files:
        if (sound := sounds.get(file.track_id)) is not None:
            groups[sound].append(file.path)
    return tuple(tuple(paths) for paths in groups.values() if len(paths) > 1)


def count_unseen(meta: MetaFile) -> int:
    """Count the vectors of a Windows program's meta.json that only this machine can open."""
    if not meta.style.windows:
        return 0
    references = filter(None, map(meta.embedding_ref, meta.tracks))
    return sum(ref.startswith("/") and not is_windows(with_slashes(ref)) for ref in references)
