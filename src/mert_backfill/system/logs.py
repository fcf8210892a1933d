"""Log messages: to a file and to standard error."""

from __future__ import annotations

import copy
import logging
import sys
from pathlib import Path

_OUR_OWN = ("mert_backfill", "mert_backfill_snakemake")
# libraries that tell of their own affairs
_TALKATIVE = ("transformers", "numba", "libav", "httpx", "huggingface_hub")


# to the beginning of the line, and what stands there away: a run's line for the whole backlog
ERASE = "\r\x1b[K"


def configure_logging(path: Path | str | None) -> None:
    """Send log messages to standard error and, appended, to the file `path`.

    File names that are not UTF-8 are escaped. Tracebacks go to the file only, and so do the
    messages of this program that are of the level DEBUG.
    """
    terminal = logging.StreamHandler(sys.stderr)
    erase = ERASE if sys.stderr.isatty() else ""
    terminal.setFormatter(_WithoutTraceback(f"{erase}%(message)s"))
    terminal.setLevel(logging.INFO)
    handlers: list[logging.Handler] = [terminal]
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        file = _LogFile(path, encoding="utf-8", errors="backslashreplace")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        handlers.append(file)
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)
    for name in _OUR_OWN:
        logging.getLogger(name).setLevel(logging.DEBUG)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)


class _LogFile(logging.FileHandler):
    """A log file that may not fit on its disk; the terminal tells the same."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: what is being logged matters more than that it cannot be."""


class _WithoutTraceback(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record = copy.copy(record)
        record.exc_info = record.exc_text = record.stack_info = None
        return super().format(record)
