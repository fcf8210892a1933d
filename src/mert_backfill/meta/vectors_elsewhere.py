"""Copies of our vectors where another program finds them, and references to those copies."""

from __future__ import annotations

import os
from pathlib import Path

from mert_backfill.errors import UserError
from mert_backfill.library.meta_text import MetaEdit, MetaText
from mert_backfill.library.paths import PathMap, PathStyle, is_windows, with_slashes
from mert_backfill.system.atomic import write_atomically


def hand_over_vectors(
    text: MetaText, store: Path, folder: Path, path_map: PathMap, base: Path
) -> MetaText:
    """Copy each vector of ours that a meta.json names, and name the copy in its place.

    Parameters
    ----------
    text : MetaText
        The rebuilt meta.json.
    store : Path
        ``results/embeddings``.
    folder : Path
        Where the copies go, under the same names below it.
    path_map : PathMap
        Translates references.
    base : Path
        The folder that relative references start from: what lies below it needs no `path_map`.

    Raises
    ------
    UserError
        The folder cannot be written to.
    """
    rows = text.document["tracks"]
    style, prefix = PathStyle.of(rows), os.path.join(store, "")
    fields: dict[str, dict[str, str]] = {}
    for key, row in rows.items():
        for name, value in row.items():
            if not name.startswith("embedding") or not isinstance(value, str):
                continue
            source = path_map.to_local(value)
            if source.startswith(prefix) and os.path.isfile(source):
                copy = folder / source.removeprefix(prefix)
                _copy(Path(source), copy)
                fields.setdefault(key, {})[name] = _reference(copy, style, path_map, base)
    return MetaText(text.edited(MetaEdit(fields=fields))) if fields else text


def _reference(copy: Path, style: PathStyle, path_map: PathMap, base: Path) -> str:
    """Return how the program that reads meta.json finds a file."""
    spelled = path_map.to_baseline(str(copy), style)
    if not style.windows or is_windows(with_slashes(spelled)) or not copy.is_relative_to(base):
        return spelled
    relative = copy.relative_to(base).as_posix()
    return relative.replace("/", "\\") if style.backslash else relative


def _copy(source: Path, copy: Path) -> None:
    try:
        data = source.read_bytes()
        if not copy.is_file() or copy.read_bytes() != data:
            write_atomically(copy, lambda file: file.write(data))
    except OSError as error:
        raise UserError(
            f"meta.publish_embeddings_to: {copy}: cannot be written: {error.strerror}; nothing was "
            "published; make the folder writable, then publish again"
        ) from error
