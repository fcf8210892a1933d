"""Python processes that this program starts, and what they may import.

``python -m`` puts the current folder first on the path, and a ``PYTHONPATH`` that ends in a colon
does so too: a ``tqdm.py`` in a folder of music would be run. Every process of this program is
started by way of this module instead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path


def python_command(module: str) -> list[str]:
    """Return the command that runs a module in a new process, without the current folder."""
    return [sys.executable, "-P", "-m", module]


def python_environment(*modules: str) -> dict[str, str]:
    """Return this process's environment with a path that holds only what is meant to be there.

    Parameters
    ----------
    *modules : str
        What the new process imports, and this one has imported: it gets the same copies, such as
        this checkout's core. Packages are found where the interpreter has them.

    Returns
    -------
    dict
        Its ``PYTHONPATH`` holds the folders of `modules`, then those that the user has put there.
        Entries that are empty, relative or the current folder are left out.
    """
    path = dict.fromkeys([*_folders_of(modules), *_inherited_on_purpose()])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def _folders_of(modules: Iterable[str]) -> Iterator[str]:
    """Yield the folders in which the top packages of modules were found."""
    for module in modules:
        package = sys.modules.get(module.partition(".")[0])
        if package is not None and package.__file__ is not None:
            path = Path(package.__file__)
            yield str(path.parents[1] if hasattr(package, "__path__") else path.parent)


def _inherited_on_purpose() -> Iterator[str]:
    here = os.path.realpath(os.curdir)
    for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        if os.path.isabs(entry) and os.path.realpath(entry) != here:
            yield entry
