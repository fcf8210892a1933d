"""The files that hold the weights, and their hash."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mert_backfill.errors import UserError, one_line
from mert_backfill.model.text_files import read_text_file
from mert_backfill.system.tables import read_json, write_json


def find_weights(folder: Path) -> tuple[Path, ...]:
    """Return the files that hold the weights; refuse a folder that lacks one."""
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    pickled = folder / "pytorch_model.bin"
    files: tuple[Path, ...]
    if single.is_file():
        files = (single,)
    elif index.is_file():
        files = _read_shards(index)
    elif pickled.is_file():
        files = (pickled,)
    else:
        raise UserError(
            f"{folder}: holds no weights (model.safetensors or pytorch_model.bin); "
            "download them into this folder"
        )
    for file in files:
        _refuse_pointer(file)
    return files


def _read_shards(index: Path) -> tuple[Path, ...]:
    names = read_text_file(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise UserError(f"{index}: holds no weight_map; restore the model's original file")
    files = []
    for name in sorted(set(map(str, names.values()))):
        if name in ("", ".", "..") or "/" in name or "\\" in name or ":" in name:
            raise UserError(
                f"{index}: the weight file {name!r} would lie outside the model's folder; "
                "restore the model's original file"
            )
        if not (index.parent / name).is_file():
            raise UserError(
                f"{index.parent / name}: the weight file is missing; download it into this folder"
            )
        files.append(index.parent / name)
    return tuple(files)


def _refuse_pointer(file: Path) -> None:
    try:
        with file.open("rb") as content:
            start = content.read(64)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({one_line(error)}); make it readable") from error
    if start.startswith(b"version https://git-lfs"):
        raise UserError(
            f"{file}: is a Git LFS pointer, not the weights; run `git lfs pull` in its folder"
        )


def hash_weights(files: tuple[Path, ...], cache_file: Path | None) -> str:
    """Return the sha256 of the weights; files unchanged since the last time are not read."""
    known = _read_cache(cache_file)
    entries: dict[str, dict[str, Any]] = {}
    for file in files:
        stat = file.stat()
        entry = {
            "size": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
            "ctime_ns": stat.st_ctime_ns,  # no program can set it back
            "inode": stat.st_ino,
        }
        before = known.get(str(file))
        if isinstance(before, dict) and before.items() >= entry.items() and "sha256" in before:
            entries[str(file)] = before
        else:
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            entries[str(file)] = {**entry, "sha256": digest}
    if cache_file is not None and not entries.items() <= known.items():
        write_json(cache_file, {**known, **entries})
    return join_hashes(files, [entries[str(file)]["sha256"] for file in files])


def join_hashes(files: Sequence[Path], hashes: Sequence[str]) -> str:
    """Return the one hash that stands for the weights, from those of their files."""
    if len(files) == 1:
        return hashes[0]
    lines = (f"{digest}  {file.name}\n" for digest, file in zip(hashes, files, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def refuse_compressed(file: Path) -> None:
    """Refuse a pickle whose tensors are compressed: a few MB can stand for all of the memory.

    torch never writes one. What it writes takes as much memory as it has bytes.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return  # an older layout, or damaged: for torch to tell
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise UserError(
            f"{file}: refused, its tensors are compressed, as torch never writes them; download "
            "the original file"
        )


def _read_cache(cache_file: Path | None) -> dict[str, Any]:
    if cache_file is None:
        return {}
    try:
        known = read_json(cache_file)
    except (OSError, ValueError):  # a cache only saves time
        return {}
    return known if isinstance(known, dict) else {}
