"""A meta.json, its rows found by file instead of by spelling; the baseline is one, read only."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mert_backfill.errors import UserError
from mert_backfill.library.listing import Listing
from mert_backfill.library.meta_text import EMPTY_META, MetaText, NoRow, RepeatedKey, TooDeep
from mert_backfill.library.paths import (
    PathMap,
    PathStyle,
    fold_case,
    is_windows,
    why_no_path,
    with_own_letters,
    with_slashes,
)
from mert_backfill.recipes import WINDOW_NAMES
from mert_backfill.system.tables import format_json

# the fields that refer to the vectors of a track's windows, and what says that all are there
SECTION_REFS = tuple(f"embedding_{name}" for name in WINDOW_NAMES)
SECTION_VERSION = {"embedding_version": "v2_section"}
# the members of a row's `features` that say what its sound is in tune with, and their lengths
HARMONIC_FEATURES = {"chroma_profile": 12, "tonnetz_profile": 6}
MAX_FOLDERS = 128  # in an embedding reference: each may be looked for
MAX_BYTES = 1_000_000_000  # room for a million rows; parsing takes several times as much memory


class MetaFile:
    """The rows of a meta.json, found by file instead of by spelling.

    Parameters
    ----------
    document : dict
        The whole JSON document; its ``tracks`` maps a path to a row.
    path : Path or None
        Where it was read, None when there is no baseline.
    text : MetaText or None
        Its text, where it was read from a file.
    sha256 : str or None
        Hash of that text, in UTF-8.
    embedding_base : Path or None
        Folder that relative ``embedding`` references start from; by default the parent of
        the folder that holds the meta.json.
    path_map : PathMap
        Translates its spellings.
    """

    def __init__(
        self,
        document: dict[str, Any],
        *,
        path: Path | None = None,
        text: MetaText | None = None,
        sha256: str | None = None,
        embedding_base: Path | None = None,
        path_map: PathMap,
    ) -> None:
        self.document = document
        self.tracks: dict[str, dict[str, Any]] = document["tracks"]
        self.path = path
        self.sha256 = sha256
        self._text = text
        self.style = PathStyle.of(self.tracks)
        self._path_map = path_map
        self.embedding_base = embedding_base or (usual_base(path) if path else Path.cwd())
        self._folders: dict[tuple[str, bool], str | None] = {}
        self._names: dict[tuple[str, bool], dict[str, str]] = {}
        self._keys: dict[str, list[str]] = {}
        for key in self.tracks:
            self._keys.setdefault(path_map.key(key), []).append(key)

    @classmethod
    def load(
        cls,
        path: Path | None,
        *,
        embedding_base: Path | None,
        path_map: PathMap,
        called: str = "meta.baseline",
    ) -> MetaFile:
        """Read a meta.json; without a path, return one that has no rows.

        Parameters
        ----------
        path : Path or None
            The file.
        embedding_base, path_map : Path or None, PathMap
            See the class.
        called : str
            What it is called in errors.

        Raises
        ------
        UserError
            It is missing, unreadable, too large, not JSON, holds a key twice, or has no
            ``tracks`` that map paths to rows.
        """
        if path is None:
            text = MetaText(EMPTY_META)
            return cls(text.document, text=text, embedding_base=embedding_base, path_map=path_map)
        data = _read(path, called)
        text = _parse(path, data, called)
        for key in text.document["tracks"]:
            if (problem := why_no_path(key)) is not None:
                raise UserError(f"{path}: the row {key[:60]!r}... {problem}; remove it")
        return cls(
            text.document,
            path=path,
            text=text,
            sha256=hashlib.sha256(text.text.encode("utf-8")).hexdigest(),
            embedding_base=embedding_base,
            path_map=path_map,
        )

    @property
    def text(self) -> MetaText:
        """The text that it was read from, or one that says the same."""
        if self._text is None:
            self._text = MetaText(format_json(self.document, indent=2) + "\n")
        return self._text

    def comparison_keys(self) -> Mapping[str, Sequence[str]]:
        """Return the keys in meta.json for each comparison key, in the order of the file."""
        return self._keys

    def keys_of(self, path: str) -> list[str]:
        """Return the keys in meta.json that name a file of this machine [absolute path]."""
        return list(self._keys.get(self._path_map.key_of_local(path), ()))

    def keys_below(self, folders: Iterable[str]) -> set[str]:
        """Return the keys in meta.json that name something below one of the local folders."""
        prefixes = tuple(self._path_map.key_of_local(folder) + "/" for folder in folders)
        found = (keys for key, keys in self._keys.items() if key.startswith(prefixes))
        return {key for keys in found for key in keys}

    def duplicate_keys(self) -> list[str]:
        """Return the keys beyond the first that name the same file."""
        return [key for keys in self._keys.values() for key in keys[1:]]

    def embedding_ref(self, meta_key: str, field: str = "embedding") -> str | None:
        """Return the ``embedding`` of a row as it is written, None when there is none.

        One that is longer or deeper than any path counts as none. `field` names another
        reference, one of `SECTION_REFS`.
        """
        ref = self.tracks[meta_key].get(field)
        if not isinstance(ref, str) or not ref.strip() or why_no_path(ref) is not None:
            return None
        return None if with_slashes(ref).count("/") > MAX_FOLDERS else ref

    def embedding_path(self, meta_key: str, field: str = "embedding") -> Path | None:
        """Return the local path that the ``embedding`` of a row, or another reference, means.

        A name that differs only in Unicode normalisation is found, and, where the reference
        or the whole file is in the style of Windows, one that differs in case.

        Returns
        -------
        Path or None
            None when the row has no reference. The file need not exist.
        """
        ref = self.embedding_ref(meta_key, field)
        if ref is None:
            return None
        local = os.path.join(self.embedding_base, self._path_map.to_local(ref))
        if os.path.exists(local):
            return Path(local)
        ignore_case = self.style.windows or "\\" in ref or is_windows(with_slashes(ref))
        return Path(self._find(local, ignore_case) or local)

    def embeddings_of(self, meta_keys: Iterable[str]) -> list[Path]:
        """Return the embeddings that the rows of a file name.

        A file is embedded when any of them counts; whether existing is enough, or a vector has
        to be usable, is for the caller to say.
        """
        named = map(self.embedding_path, meta_keys)
        return [embedding for embedding in named if embedding is not None]

    def has_embedding(self, meta_key: str) -> bool:
        """Tell whether a row names an embedding that exists."""
        path = self.embedding_path(meta_key)
        return path is not None and os.path.isfile(path)

    def has_sections(self, meta_key: str) -> bool:
        """Tell whether a row has all that says where the vectors of its windows are."""
        named = (self.embedding_path(meta_key, field) for field in SECTION_REFS)
        return SECTION_VERSION.items() <= self.tracks[meta_key].items() and all(
            path is not None and os.path.isfile(path) for path in named
        )

    def has_harmonic(self, meta_key: str) -> bool:
        """Tell whether the ``features`` of a row say what its sound is in tune with."""
        features = self.tracks[meta_key].get("features")
        return isinstance(features, dict) and all(
            _has_numbers(features.get(name), length) for name, length in HARMONIC_FEATURES.items()
        )

    def _find(self, path: str, ignore_case: bool) -> str | None:
        """Return the existing path that `path` spells in another way."""
        steps = [path]
        folder = os.path.dirname(path)
        while (folder, ignore_case) not in self._folders:
            exists, parent = os.path.isdir(folder), os.path.dirname(folder)
            if exists or parent == folder:
                self._folders[folder, ignore_case] = folder if exists else None
            else:
                steps.append(folder)
                folder = parent
        found = self._folders[folder, ignore_case]
        for step in reversed(steps):
            names = self._listing(found, ignore_case) if found is not None else {}
            name = names.get(_fold(os.path.basename(step), ignore_case))
            found = os.path.join(found, name) if found is not None and name else None
            if step != path:
                self._folders[step, ignore_case] = found
        return found

    def _listing(self, folder: str, ignore_case: bool) -> dict[str, str]:
        place = (folder, ignore_case)
        if place not in self._names:
            try:
                names = sorted(os.listdir(folder), reverse=True)
            except OSError:
                names = []
            self._names[place] = {_fold(name, ignore_case): name for name in names}
        return self._names[place]


def usual_base(path: Path) -> Path:
    """Return the folder that relative references in a meta.json start from by default."""
    return path.absolute().parent.parent


def count_unseen(tracks: Mapping[str, Mapping[str, Any]]) -> int:
    """Count the rows of a Windows program whose vector only this machine can open."""
    if not PathStyle.of(tracks).windows:
        return 0
    references = (row.get("embedding") for row in tracks.values())
    return sum(
        isinstance(ref, str) and ref.startswith("/") and not is_windows(with_slashes(ref))
        for ref in references
    )


def stale_meta_keys(listing: Listing, meta: MetaFile) -> list[str]:
    """Return the keys of a meta.json for which the library holds no file, junk included.

    Nothing is said of keys below a folder that could not be read: their files may be there.
    """
    named: set[str] = set()
    for file in (*listing.files, *listing.junk):
        named.update(meta.keys_of(file.path))
    hidden = meta.keys_below(listing.unreadable)
    return [key for key in meta.tracks if key not in named and key not in hidden]


def _has_numbers(value: object, length: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == length
        and all(isinstance(number, int | float) and math.isfinite(number) for number in value)
    )


def _fold(name: str, ignore_case: bool) -> str:
    name = with_own_letters(with_slashes(name))
    return fold_case(name) if ignore_case else name


def _read(path: Path, called: str) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path}: {called} is not a file; give the meta.json itself")
        if status.st_size > MAX_BYTES:
            raise UserError(
                f"{path}: {called} has {status.st_size:,} bytes, at most {MAX_BYTES:,} "
                "are read; check that it is the right file"
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: there is no such file; correct {called}, or set it to null"
        ) from error
    except OSError as error:
        raise UserError(
            f"{path}: {called} cannot be read ({error.strerror}); "
            "check the path and its permissions"
        ) from error


def _parse(path: Path, data: bytes, called: str) -> MetaText:
    try:
        return MetaText(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 at byte {error.start}; save it as UTF-8"
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        problem = f"is not valid JSON at {where} ({error.msg}); restore it from a backup"
    except RepeatedKey as error:
        problem = f"has the key {error.args[0]!r} twice in one object; remove one of the two"
    except NoRow as error:
        problem = f"the row of {error.args[0]!r} in tracks is not an object; correct the row"
    except TooDeep:
        problem = "is nested too deeply; check that it is the right file"
    except MemoryError:
        problem = "does not fit into memory; check that it is the right file"
    except TypeError:
        problem = 'has no "tracks" that map paths to rows; check that it is the right file'
    except ValueError as error:  # such as a number with thousands of digits
        problem = f"is not valid JSON ({error}); restore it from a backup"
    raise UserError(f"{path}: {called} {problem}")
