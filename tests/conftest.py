"""What all tests share."""

from __future__ import annotations

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Let the Python processes that tests start import what tests import.

    Calls of Snakemake do without; see `support.project.user_environment`.
    """
    folders = config.getini("pythonpath")
    os.environ["PYTHONPATH"] = os.pathsep.join(str(config.rootpath / name) for name in folders)
