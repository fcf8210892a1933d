"""What of Snakemake's messages is for a person.

| message                                  | what becomes of it                                   |
| ---------------------------------------- | ---------------------------------------------------- |
| a job begins                             | its rule's message; of a chunk in a log only         |
| a chunk ends                             | that it did, in a log: which has no line to look at  |
| a job failed                             | its own error line, if not said here; that it died   |
| an error of Snakemake's own              | told as it is                                        |
| "job failed", "exiting because", ...     | nothing: the job has told its error                  |
| a warning                                | told as it is                                        |
| the table of jobs in a preview, chunks   | once, and the names of the first chunks              |
| nothing to be done                       | told as it is                                        |
| all else                                 | is in Snakemake's log only                           |
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

from snakemake.logging import logger as snakemake_logger

from mert_backfill_snakemake.screen.terminal import Terminal

_STREAM_HANDLER = "DefaultStreamHandler"  # what Snakemake calls its own
_TOLD_BY_JOBS = re.compile(
    "Exiting because a job execution failed|At least one job did not complete successfully"
)
# chunks write the list of failures that the audit will write again
_NO_MATTER = "were not present when the DAG was created"
_FAILED_JOB = "CalledProcessError in "
# a signal, as Python and as a shell tell it; 130 is Ctrl-C
_DIED = re.compile(r"died with <Signals\.\w+|exit status (?!130\b)(12[89]|1[3-9]\d)")
_DRY_RUN = "This was a dry-run"
_NOTHING = "Nothing to be done"
_ERROR_LINE = re.compile(r"^\S+ \S+ ERROR (.*)$", re.MULTILINE)
_ROOM_BYTES = 2**20
_CHUNK_RULE = "embed_chunk"
_SILENT_RULES = ("all", "everything")


class Messages(logging.Handler):
    """Passes on what is for a person, and remembers how the jobs fared.

    Parameters
    ----------
    terminal : Terminal
        Where it is printed.
    shows : bool
        The call shows something, and runs no job.
    jobs_are_here : bool
        Jobs print to this terminal themselves.

    Attributes
    ----------
    failed : list of str
        The rules whose jobs failed.
    has_error : bool
        Snakemake gave up for a reason of its own, or a job failed.
    chunks : list of str
        The chunks whose jobs a preview lists.
    """

    def __init__(self, terminal: Terminal, *, shows: bool, jobs_are_here: bool) -> None:
        super().__init__()
        self._terminal = terminal
        self._shows = shows
        self._jobs_are_here = jobs_are_here
        self._is_quiet = False
        self._told_jobs = False
        self._chunk_jobs: dict[int, str] = {}  # at work, by Snakemake's number
        self._is_interrupted: Callable[[], bool] = lambda: False
        self.failed: list[str] = []
        self.has_error = False
        self.chunks: list[str] = []

    def listen(self, *, quiet: bool, is_interrupted: Callable[[], bool]) -> None:
        """Begin: in the place of Snakemake's own handler when `quiet`, else beside it."""
        self._is_interrupted = is_interrupted
        own = [each for each in snakemake_logger.handlers if each.name == _STREAM_HANDLER]
        if quiet and own:
            self._is_quiet = True
            for handler in own:
                for rule in handler.filters:  # what --quiet asks for on top
                    self.addFilter(rule)
                snakemake_logger.removeHandler(handler)
        snakemake_logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a message on, or not."""
        event = str(getattr(record, "event", None) or "")
        if event in ("job_error", "group_error"):
            self.has_error = True
            self.failed.append(str(getattr(record, "rule_name", "")))
        elif event == "error" and not self._is_interrupted():
            self.has_error = True
        text = self._words(record, event) if self._is_quiet else ""
        if text:
            self._terminal.print(text)

    def _words(self, record: logging.LogRecord, event: str) -> str:
        message = record.getMessage() if record.msg else ""
        match event:
            case "job_info":
                return self._job_begins(record)
            case "job_finished":
                chunk = self._chunk_jobs.pop(getattr(record, "job_id", -1), "")
                return f"Finished chunk {chunk} (Rule: {_CHUNK_RULE})" if chunk else ""
            case "job_error":
                return self._job_failed(record)
            case "run_info" if hasattr(record, "stats") and not self._told_jobs:
                self._told_jobs = True
                return message.rstrip() if self._shows else ""
            case "error":
                if _FAILED_JOB in message:
                    return self._job_died(message)
                return "" if _TOLD_BY_JOBS.search(message) else message
            case "":
                if record.levelno >= logging.WARNING:
                    told = _TOLD_BY_JOBS.search(message) or _NO_MATTER in message
                    return "" if told else message
                return message if message.startswith((_NOTHING, _DRY_RUN)) else ""
        return ""

    def _job_begins(self, record: logging.LogRecord) -> str:
        rule = str(getattr(record, "rule_name", ""))
        chunk = (getattr(record, "wildcards", None) or {}).get("chunk")
        if self._shows:
            self.chunks += [str(chunk)] if chunk else []
            return ""
        if rule == _CHUNK_RULE:
            if self._terminal.is_live:  # the line of the backlog tells more
                return ""
            self._chunk_jobs[getattr(record, "jobid", -1)] = str(chunk)
        return "" if rule in _SILENT_RULES else str(getattr(record, "rule_msg", None) or rule)

    def _job_failed(self, record: logging.LogRecord) -> str:
        """Return the error of a job on a cluster's node: it said it where nobody saw it."""
        if self._jobs_are_here or self._is_interrupted():
            return ""
        logs = [str(path) for path in getattr(record, "log", None) or ()]
        errors = [error for path in logs for error in _errors_in(Path(path))]
        see = f"; see {logs[0]}" if logs else ""
        return (
            errors[-1] if errors else f"error: {getattr(record, 'rule_name', 'a job')} failed{see}"
        )

    def _job_died(self, message: str) -> str:
        """Return what a job here could not say any more; nothing where it has told its error."""
        died = _DIED.search(message)
        if died is None or self._is_interrupted():
            return ""
        return f"error: a job was killed ({died[0]}): out of memory? See the logs in results/logs/"


def _errors_in(log: Path) -> list[str]:
    try:
        return _ERROR_LINE.findall(log.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return []
