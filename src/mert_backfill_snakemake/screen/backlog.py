"""One line for the whole backlog while a run goes on."""

from __future__ import annotations

import shutil
import threading
import time

from mert_backfill.health.status import StatusReader
from mert_backfill.health.status_words import progress_line
from mert_backfill.results import Results
from mert_backfill_snakemake.screen.terminal import Terminal

_LIVE_S = 1.0
_LOG_S = 60.0


class BacklogLine(threading.Thread):
    """Looks at what the chunks leave, and says how far they are: it only ever reads.

    A terminal shows the line in place; in a log it comes every minute.
    """

    def __init__(self, results: Results, terminal: Terminal) -> None:
        super().__init__(name="backlog-line", daemon=True)
        self._reader = StatusReader(results)
        self._terminal = terminal
        self._ended = threading.Event()

    def run(self) -> None:
        """Show the line again and again."""
        live = self._terminal.is_live
        while not self._ended.wait(_LIVE_S if live else _LOG_S):
            try:
                line = self._line()
            except Exception:
                continue
            if live:
                self._terminal.show(line[: shutil.get_terminal_size().columns - 1])
            elif line:
                self._terminal.print(line)

    def end(self) -> None:
        """Take the line away."""
        self._ended.set()
        if self.is_alive():
            self.join(timeout=_LIVE_S)
        self._terminal.show("")

    def _line(self) -> str:
        status = self._reader.read(time.time())
        chunks = status.chunks
        return "" if chunks.total is None or chunks.done == chunks.total else progress_line(status)
