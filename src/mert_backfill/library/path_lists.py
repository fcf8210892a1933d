"""Lists of paths, as users write them: what to leave out, what to embed.

One path a line. Blank lines and lines that begin with ``#`` are skipped, quotes around a line
are taken off. A relative path starts at the folder of the list. Any spelling that the
`PathMap` understands will do, and a folder stands for all below it.

Where globs are allowed, a line with ``*`` or ``?`` is one, much as in a .gitignore:

- ``*`` and ``?`` stand for any letters, or one letter, of one name; ``**`` crosses folders, and
  ``**/`` in front of a name stands for any folders, or none;
- a glob that begins with ``/``, ``./``, ``../`` or a drive is anchored there (``./`` is the
  folder of the list); any other matches at every depth: ``*.wav``, ``Samples/*.wav``,
  ``**/Samples/**``;
- a folder that matches stands for all below it;
- case counts, except below a mapped Windows prefix;
- ``[`` and ``]`` stand for themselves, since so many albums are called ``[2019] Title``.

A line that is a glob also names the file that is really called so. A file whose name begins
with ``#`` is listed by its full path or as ``./#name``. A name that holds a line break cannot
be listed: list its folder, or a glob.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mert_backfill.errors import UserError
from mert_backfill.library.paths import (
    PathMap,
    fold_case,
    is_windows,
    why_no_path,
    with_own_letters,
    with_slashes,
)

_WILDCARD = re.compile(r"\*\*/|\*\*|\*|\?")
_AS_LITTLE_AS_WILL_DO = {"": "", "**/": "(?:[^/]*+/)*?", "**": ".*?", "*": "[^/]*?"}
_END_OR_FOLDER = r"(?:/|\Z)"


@dataclass(frozen=True)
class _Glob:
    local: re.Pattern[str]
    windows: re.Pattern[str]

    def matches(self, key: str) -> bool:
        pattern = self.windows if is_windows(key) else self.local
        return pattern.match(key) is not None


@dataclass(frozen=True)
class _Entry:
    line: str
    keys: frozenset[str]
    glob: _Glob | None


class PathList:
    """The files and folders that a list names.

    Parameters
    ----------
    entries : sequence
        The lines of the list, as `read_path_list` understands them.
    path_map : PathMap
        Decides which spellings mean the same file.
    path : Path
        Where it was read.
    sha256 : str
        Hash of the bytes that were read.
    """

    def __init__(
        self, entries: Sequence[_Entry], path_map: PathMap, *, path: Path, sha256: str
    ) -> None:
        self.path = path
        self.sha256 = sha256
        self._entries = tuple(entries)
        self._path_map = path_map
        self._keys = frozenset(key for entry in entries for key in entry.keys)
        self._globs = tuple(entry.glob for entry in entries if entry.glob is not None)

    def __len__(self) -> int:
        return len(self._entries)

    def contains(self, path: str) -> bool:
        """Tell whether a local file [absolute], or a folder above it, is listed."""
        key = self._path_map.key_of_local(path)
        return any(name in self._keys for name in _with_folders(key)) or any(
            glob.matches(key) for glob in self._globs
        )

    def unmatched(self, paths: Iterable[str]) -> list[str]:
        """Return the lines that none of the local files `paths` matches."""
        files = [self._path_map.key_of_local(path) for path in paths]
        known: set[str] = set()
        for file in files:
            for name in _with_folders(file):
                if name in known:
                    break  # and so are the folders above
                known.add(name)
        return [
            entry.line
            for entry in self._entries
            if known.isdisjoint(entry.keys)
            and (entry.glob is None or not any(map(entry.glob.matches, files)))
        ]


def read_path_list(path: Path, path_map: PathMap, *, globs: bool) -> PathList:
    """Read a list of paths.

    Parameters
    ----------
    path : Path
        A text file in UTF-8, with or without a byte order mark; bytes that are not UTF-8
        stand for themselves.
    path_map : PathMap
        Translates the spellings of other machines.
    globs : bool
        Whether ``*`` and ``?`` are wildcards.

    Raises
    ------
    UserError
        The file is missing, unreadable or not text, or a line of it is no path.
    """
    folder = os.path.dirname(os.path.abspath(path))
    data = _read(path)
    entries = []
    for number, line in enumerate(data.decode("utf-8-sig", "surrogateescape").split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if (problem := why_no_path(line)) is not None:
            raise UserError(f"{path}: line {number} {problem}; remove it")
        entries.append(_read_line(line.removesuffix("\r"), folder, path_map, globs))
    return PathList(
        entries,
        path_map,
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _read(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{path}: this list of paths is not a file; give a text file")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such list of paths; correct the path") from error
    except OSError as error:
        raise UserError(
            f"{path}: this list of paths cannot be read ({error.strerror}); "
            "check the path and its permissions"
        ) from error
    if b"\0" in data:
        raise UserError(
            f"{path}: this list of paths is not text in UTF-8; save it as UTF-8, one path a line"
        )
    return data


def _read_line(line: str, folder: str, path_map: PathMap, globs: bool) -> _Entry:
    bare = line.strip()
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'":
        bare = bare[1:-1]
    # the line as it stands too: a name may really begin with a space, or be quoted
    keys = {key for text in {line, bare} for key in keys_of(text, folder, path_map)}
    is_glob = globs and _WILDCARD.search(bare) is not None
    glob = _read_glob(bare, folder, path_map) if is_glob else None
    return _Entry(bare, frozenset(keys), glob)


def keys_of(spelling: str, folder: str, path_map: PathMap) -> set[str]:
    """Return the comparison keys of a path as users write it, relative ones below `folder`."""
    if _is_absolute(path_map.to_local(spelling)):
        # this machine's own spelling always counts, also where a prefix would change it
        return {path_map.key(spelling), path_map.key_of_local(spelling)}
    return {path_map.key_of_local(f"{folder}/{spelling}")}


def _read_glob(text: str, folder: str, path_map: PathMap) -> _Glob:
    path = text.replace("\\", "/")
    if path.startswith(("./", "../")):
        pattern = _to_regex(path_map.key_of_local(f"{folder}/{path}"))
        return _Glob(pattern, pattern)
    if _is_absolute(path_map.to_local(text)):
        pattern = _to_regex(path_map.key(text))
        return _Glob(pattern, pattern)
    anywhere = "**/" + with_own_letters(with_slashes(text))
    return _Glob(_to_regex(anywhere), _to_regex(fold_case(anywhere)))


def _to_regex(glob: str) -> re.Pattern[str]:
    """Return the pattern of a glob, for `re.Pattern.match`.

    No name makes it slow: what matches as early as it can is never taken back (``(?>...)``), since
    whatever else could match goes on from there as well. So the time grows with the square of a
    path's length at most, however many stars there are.
    """
    blocks: list[str] = []
    for wildcard, text in _pieces(glob):
        piece = _AS_LITTLE_AS_WILL_DO[wildcard] + text
        if wildcard == "*":  # a later block may begin elsewhere, and then so does this star
            blocks[-1] += f"(?>{piece})"
        else:
            blocks.append(piece)
    return re.compile("".join(f"(?>{block})" for block in blocks), re.DOTALL)


def _pieces(glob: str) -> Iterator[tuple[str, str]]:
    """Yield each wildcard other than ``?``, at first none, and the pattern of what follows it.

    What follows the last one is the end of the path, or of the name of a folder.
    """
    wildcard, text, end = "", "", 0
    for found in _WILDCARD.finditer(glob):
        start, sign = found.start(), found.group()
        text += re.escape(glob[end:start])
        end = found.end()
        if sign == "?":
            text += "[^/]"
        else:
            yield wildcard, text
            within_name = sign == "**/" and start > 0 and glob[start - 1] != "/"
            wildcard, text = ("**", "/") if within_name else (sign, "")
    yield wildcard, text + re.escape(glob[end:]) + _END_OR_FOLDER


def _is_absolute(path: str) -> bool:
    return path.startswith("/") or is_windows(with_slashes(path))


def _with_folders(key: str) -> Iterator[str]:
    """Yield a key and those of the folders above it, the root included."""
    yield key
    while (end := key.rfind("/")) > 0:
        key = key[:end]
        yield key
    yield "/"
