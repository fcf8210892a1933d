"""What an audit finds beside its counters: one sound in several files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from mert_backfill.library.listing import AudioFile


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
