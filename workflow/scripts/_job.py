"""What every job script does: logging, settings, ties to its run, errors in one line."""

from __future__ import annotations

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while packages load: end without a word

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import model_info, model_profile  # puts the core on the path
from mert_backfill.config import load_settings
from mert_backfill.errors import UserError
from mert_backfill.settings import Settings
from mert_backfill.system.logs import configure_logging
from mert_backfill.system.session import join_run

__all__ = ["model_info", "model_profile", "run_job"]

logger = logging.getLogger("mert_backfill")


def run_job(snakemake: Any, work: Callable[[Settings], object]) -> None:
    """Do the work of a job; an error becomes one line and exit code 1.

    Parameters
    ----------
    snakemake : object
        The object that Snakemake gives to scripts.
    work : callable
        Called with the settings.
    """
    log = Path(snakemake.log[0])
    configure_logging(log)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        settings = load_settings(snakemake.config, Path.cwd())
        join_run(settings.results)
        work(settings)
    except UserError as error:
        logger.error("error: %s", error)
        sys.exit(1)
    except KeyboardInterrupt:
        logger.error("interrupted; what is done is safe")
        sys.exit(130)
    except Exception as error:
        logger.exception("internal error: %s; the traceback is in %s", error, log)
        sys.exit(1)
