"""Whether the file of a row is gone, or merely where nobody can look."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache

from mert_backfill.errors import UserError
from mert_backfill.library.paths import PathMap, is_windows
from mert_backfill.library.roots import is_mount


class Disk:
    """Tells which rows name files that are gone from this machine.

    A file is gone when somebody could look where it should be, and did not see it. That is not so
    of a drive that no line of ``path_map`` names, of a name without a folder, of a folder that is
    empty (a disk that is not mounted leaves one), or of one that is missing as a whole: but a
    missing folder below another folder of a root is gone, as when an album was deleted.

    Parameters
    ----------
    roots : iterable of str
        The folders of the library.
    path_map : PathMap
        Translates the spellings of a meta.json.
    """

    def __init__(self, roots: Iterable[str], path_map: PathMap) -> None:
        self._roots = tuple(os.path.join(root, "") for root in roots)
        self._path_map = path_map
        self._holds_something = cache(_holds_something)  # for as long as this is asked

    def is_gone(self, meta_key: str) -> bool:
        """Tell whether a row names a file that cannot be there any more."""
        path = self._path_map.to_local(meta_key)
        if not os.path.isabs(path):
            return False
        try:
            os.lstat(path)
        except ValueError:  # no file can have this name
            return True
        except (FileNotFoundError, NotADirectoryError):
            return self._is_in_sight(path)
        except OSError:
            return False
        return False

    def is_out_of_reach(self, meta_key: str) -> bool:
        """Tell whether nobody can look where a row says that its file is.

        That is so of a drive that no line of ``path_map`` names, and, outside the roots, of what
        should be in a folder that is empty: a disk that is not mounted leaves one.
        """
        path = self._path_map.to_local(meta_key)
        if not os.path.isabs(path) or path.startswith("//"):
            return is_windows(path)
        if path.startswith(self._roots):
            return False
        folder = os.path.dirname(path)
        while not os.path.isdir(folder) and folder != "/":
            folder = os.path.dirname(folder)
        return not self._holds_something(folder)

    def _is_in_sight(self, path: str) -> bool:
        folder = os.path.dirname(path)
        if self._holds_something(folder):
            return True
        root = next((root for root in self._roots if path.startswith(root)), None)
        if root is None:
            return False
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        return folder.startswith(root) and self._holds_something(folder)


def check_mounts(mounts: Iterable[str], *, accept: bool) -> None:
    """Refuse to go on when a disk below a root is away: its files are not gone.

    Parameters
    ----------
    mounts : iterable of str
        Where disks were mounted below the roots at the last scan.
    accept : bool
        The user says that they are meant to be away: check nothing.

    Raises
    ------
    UserError
        One is not mounted.
    """
    away = [folder for folder in mounts if not is_mount(folder)]
    if away and not accept:
        raise UserError(
            f"{away[0]}: another disk was mounted here at the last scan, and is not now: its files "
            "are not gone, so no row is moved or taken out; mount it, or, if this is meant, add "
            "--config accept_shrunken_library=true"
        )


def _holds_something(folder: str) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError:
        return False
