"""The rebuilt meta.json: the baseline, with the embeddings that were made here."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mert_backfill.errors import UserError
from mert_backfill.library.listing import AudioFile
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.library.paths import PathMap, PathStyle
from mert_backfill.library.tags import read_tags, tags_from_name
from mert_backfill.recipes import WINDOW_NAMES
from mert_backfill.store.sidecars import SidecarStore
from mert_backfill.store.vectors import VectorState, VectorStore
from mert_backfill.system.tables import write_json

Row = dict[str, Any]


@dataclass(frozen=True)
class Rebuilt:
    """A rebuilt meta.json and what was done to it.

    Attributes
    ----------
    document : dict
        The whole content of the new meta.json.
    filled_keys : tuple of str
        Rows of the baseline that got an embedding.
    added_keys : tuple of str
        New rows, of files that had none.
    removed : dict
        Stale rows that are in `document` no more, by key; empty under the policy "keep".
    """

    document: dict[str, Any]
    filled_keys: tuple[str, ...]
    added_keys: tuple[str, ...]
    removed: dict[str, Row]


def rebuild_meta(
    baseline: MetaFile,
    files: Sequence[AudioFile],
    store: VectorStore,
    profile_name: str,
    path_map: PathMap,
    stale_policy: Literal["keep", "archive", "prune"],
    stale_keys: Sequence[str],
    sections: SidecarStore | None = None,
) -> Rebuilt:
    """Return the baseline with the embeddings of the store in it.

    Every row and field stays as it was, and in its order, but for the rows of tracks that were
    embedded here: those that name no existing embedding and whose vector in the store is
    valid. A file with such a vector and without a row gets one. The baseline itself is not
    changed.

    Parameters
    ----------
    baseline : MetaFile
        The meta.json to start from.
    files : sequence of AudioFile
        Every track of the library, in the order in which new rows are to appear.
    store : VectorStore
        The vectors of the current profile.
    profile_name : str
        PROFILE, written into ``embedding_profile``.
    path_map : PathMap
        Translates new keys and embedding paths into the baseline's spelling.
    stale_policy : {"keep", "archive", "prune"}
        Whether the rows of `stale_keys` stay. A row whose file exists after all, outside the
        library or where nobody may look, always stays.
    stale_keys : sequence of str
        Keys for which the library holds no file.
    sections : SidecarStore, optional
        The windows' vectors: rows of tracks embedded under the profile refer to them, as
        ``embedding_intro``, ``embedding_core`` and ``embedding_late``.
    """
    tracks: dict[str, Row] = dict(baseline.tracks)
    filled: dict[str, None] = {}  # a set that keeps its order
    added: list[str] = []
    for file in files:
        keys = baseline.keys_of(file.path)
        if sections is not None:
            ours = [key for key in keys if tracks[key].get("embedding_profile") == profile_name]
            windows = _window_fields(sections, file.track_id, path_map, baseline.style)
            tracks.update({key: {**tracks[key], **windows} for key in ours})
        if any(baseline.has_embedding(key) or key in filled for key in keys):
            continue
        if store.state(file.track_id) is not VectorState.VALID:
            continue
        vector = path_map.to_baseline(str(store.path(file.track_id)), baseline.style)
        fields = {
            "embedding": vector,
            "embedding_source": "baseline",
            "embedding_profile": profile_name,
        }
        if sections is not None:
            fields |= _window_fields(sections, file.track_id, path_map, baseline.style)
        if keys:
            tracks.update({key: {**tracks[key], **fields} for key in keys})
            filled.update(dict.fromkeys(keys))
        else:
            key = path_map.to_baseline(file.path, baseline.style)
            if key in tracks:  # on this machine a\b and a/b are two files, there they are one
                key = file.path
            tracks[key] = {**_describe(file.path), **fields}
            added.append(key)
    removed = {}
    if stale_policy != "keep":
        stale = [key for key in stale_keys if not _may_exist(path_map.to_local(key))]
        removed = {key: tracks.pop(key) for key in stale}
    document = {**baseline.document, "tracks": tracks}
    return Rebuilt(document, tuple(filled), tuple(added), removed)


def _window_fields(
    sections: SidecarStore, track_id: str, path_map: PathMap, style: PathStyle
) -> Row:
    """Return the fields that refer to the vectors of a track's windows, if they are there."""
    if sections.state(track_id) is not VectorState.VALID:
        return {}
    paths = {name: sections.window_path(name, track_id) for name in WINDOW_NAMES}
    return {
        f"embedding_{name}": path_map.to_baseline(str(path), style)
        for name, path in paths.items()
        if path.is_file()
    }


def write_meta(path: Path | str, document: Mapping[str, Any]) -> None:
    r"""Write a meta.json: readable, indented, atomic; surrogates become ``\udcXX``."""
    write_json(path, document)


def add_to_archive(path: Path | str, rows: Mapping[str, Row]) -> None:
    """Add stale rows to ``meta/archived.json``, which keeps what it holds.

    Once the rebuilt meta.json is published the archive is the only place that still has them.
    Of two rows with the same key the newer one is kept.

    Raises
    ------
    UserError
        The archive exists and cannot be read; it is not overwritten.
    """
    if not rows:
        return
    path = Path(path)
    archived: dict[str, Row] = {}
    if path.exists():
        try:
            archived = dict(json.loads(path.read_bytes())["tracks"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: this archive of stale rows is damaged; repair it or move it away, "
                "then run again"
            ) from error
    archived.update(rows)
    write_json(path, {"tracks": archived})


def _describe(path: str) -> Row:
    from_tags, from_name = read_tags(path), tags_from_name(path)
    return {
        "artist": from_tags.artist or from_name.artist or "",
        "title": from_tags.title or from_name.title,
    }


def _may_exist(path: str) -> bool:
    """Tell whether something lies at an absolute path, or cannot be ruled out to."""
    if not os.path.isabs(path):
        return False
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: no name of a file
        return False
    except OSError:
        return True
    return True
