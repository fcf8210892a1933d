"""The music roots: are they there, and are they still the same disks."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mert_backfill.errors import UserError


@dataclass(frozen=True)
class Root:
    """A music folder and the name under which its tracks are known."""

    name: str
    path: Path


def check_root(root: Root) -> None:
    """Refuse a root that is no folder that can be read."""
    where = f"config: library.roots: {root.name!r}:"
    try:
        status = os.stat(root.path)
    except (FileNotFoundError, NotADirectoryError) as error:
        is_demo = root.path.parts[-2:] == ("demo", "music")
        hint = " (for the demo: run `make demo`)" if is_demo else ""
        raise UserError(
            f"{where} there is no folder {root.path}; mount the drive or correct the path{hint}"
        ) from error
    except OSError as error:
        raise no_access(root, error) from error
    if not stat.S_ISDIR(status.st_mode):
        raise UserError(f"{where} {root.path} is not a folder; give the folder that holds it")


def no_access(root: Root, error: OSError) -> UserError:
    """Return the error of a root that is there but cannot be read."""
    return UserError(
        f"config: library.roots: {root.name!r}: {root.path} cannot be read "
        f"({error.strerror or error}); check the drive and the permissions of the folder"
    )


def check_roots_are_there(
    roots: Sequence[Root], devices: Mapping[str, int | None] | None = None
) -> None:
    """Refuse to go on when a music root has vanished (unmounted, unplugged, renamed).

    Parameters
    ----------
    roots : sequence of Root
        The music roots.
    devices : mapping, optional
        The device of each root's folder when the chunk began, by root name.

    Raises
    ------
    UserError
        A root is gone, empty, or lies on another device than before.
    """
    for root in roots:
        device = device_of(root)
        if device is None or (devices is not None and device != devices[root.name]):
            raise UserError(
                f"library.roots: {root.name!r} ({root.path}) has vanished; mount it again and run "
                "the same command (no track was marked as failed)"
            )


def is_mount(folder: str) -> bool:
    """Tell whether another disk begins at a folder; False where there is no such folder."""
    try:
        return os.stat(folder).st_dev != os.stat(os.path.dirname(folder)).st_dev
    except OSError:
        return False


def device_of(root: Root) -> int | None:
    """Return the device number of a root's folder, or None when it is gone or empty."""
    try:
        with os.scandir(root.path) as entries:
            return os.stat(root.path).st_dev if next(entries, None) is not None else None
    except OSError:
        return None
