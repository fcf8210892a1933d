"""What every job does: logging, settings, ties to its run, errors in one line."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from mert_backfill.errors import UserError
from mert_backfill.settings import Settings
from mert_backfill.system.logs import configure_logging
from mert_backfill.system.session import join_run
from mert_backfill_snakemake.objects import Job
from mert_backfill_snakemake.settings import read_settings

logger = logging.getLogger("mert_backfill")


def run_job(snakemake: Job, work: Callable[[Settings], object]) -> None:
    """Do the work of a job; an error becomes one line and exit code 1.

    Parameters
    ----------
    snakemake : Job
        The object that Snakemake gives to scripts.
    work : callable
        Called with the settings.
    """
    log = Path(snakemake.log[0])
    configure_logging(log)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        settings = read_settings(snakemake.config)
        join_run(settings.results)
        work(settings)
    except UserError as error:
        logger.error("error: %s", error)
        sys.exit(1)
    except KeyboardInterrupt:
        logger.debug("interrupted; what is done is safe")  # the run tells it, once
        sys.exit(130)
    except Exception as error:
        logger.exception("internal error: %s; the traceback is in %s", error, log)
        sys.exit(1)
