"""The screen of one call, from its first line to its last."""

from __future__ import annotations

import atexit
import os
import signal
import textwrap
import threading
from types import FrameType
from typing import NoReturn

from mert_backfill.plan.preview import Preview
from mert_backfill.settings import Settings
from mert_backfill_snakemake.call import Call
from mert_backfill_snakemake.interrupts import end_without_traceback
from mert_backfill_snakemake.objects import Workflow
from mert_backfill_snakemake.screen import ending
from mert_backfill_snakemake.screen.backlog import BacklogLine
from mert_backfill_snakemake.screen.messages import Messages
from mert_backfill_snakemake.screen.terminal import Terminal

_WHOLE_RUN = {"all", "everything"}
_EMBEDDING = "embed_chunk"
_SHOWN_CHUNKS = 16
# after Ctrl-C: jobs here end within a second, those of a cluster are cancelled one by one
_PATIENCE_S, _PATIENCE_WITH_A_CLUSTER_S = 10.0, 300.0
_WIDTH = 80


class Screen:
    """What is seen of a call whose rules are the user's own, not those of a module.

    Parameters
    ----------
    workflow : Workflow
        The workflow that is being read.
    call : Call
        What the call is for.
    """

    def __init__(self, workflow: Workflow, call: Call) -> None:
        self._call = call
        self._terminal = Terminal()
        remote = workflow.resource_settings.nodes is not None
        self._patience_s = _PATIENCE_WITH_A_CLUSTER_S if remote else _PATIENCE_S
        self._messages = Messages(self._terminal, shows=call.shows, jobs_are_here=not remote)
        self._settings: Settings | None = None
        self._preview: Preview | None = None
        self._line: BacklogLine | None = None
        self._interrupts = 0
        self._ending = threading.RLock()
        self._has_ended = False
        output = workflow.output_settings
        self._messages.listen(
            quiet=not (output.verbose or output.debug_dag),
            is_interrupted=lambda: self._interrupts > 0,
        )
        if not call.shows:
            self._hear_ctrl_c()
        atexit.register(self._end)

    def begin(self, settings: Settings, preview: Preview) -> None:
        """Tell what there is to do, and follow the run."""
        self._settings, self._preview = settings, preview
        if self._call.is_preview:  # below the table of jobs, where it is seen
            return
        self._terminal.print(str(preview))
        if not self._call.shows:
            self._line = BacklogLine(settings.results, self._terminal)
            self._line.start()

    def _end(self) -> None:
        with self._ending:
            if not self._has_ended:
                self._has_ended = True
                self._say_the_last_words()

    def _say_the_last_words(self) -> None:
        if self._line:
            self._line.end()
        if self._call.is_preview and self._preview:
            if self._messages.chunks:
                self._terminal.print(_names(self._messages.chunks))
            self._terminal.print(str(self._preview))
        elif not self._call.shows and (last := self._last_line()):
            self._terminal.print(last)

    def _last_line(self) -> str:
        if self._interrupts:
            return ending.after_ctrl_c(self._settings)
        if self._settings is None:  # refused before it began
            return ""
        if _EMBEDDING in self._messages.failed:
            return ending.after_failed_chunks(self._settings)
        if self._messages.has_error:  # told already, and the last thing on the screen
            return ""
        is_whole = not self._call.targets or self._call.targets & _WHOLE_RUN
        return ending.after_a_run(self._settings) if is_whole else ""

    def _hear_ctrl_c(self) -> None:
        """End in order at the first Ctrl-C, and at once at the second: what is done is safe.

        It is as if there were a second one where the first leads to no end: Snakemake waits for
        ever for a task of its own when it came in the middle of that.
        """
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            return  # whoever started this does not want it to be heard

        def stop(number: int, frame: FrameType | None) -> None:
            self._interrupts += 1
            if self._interrupts > 1:
                self._end_at_once()
            patience = threading.Timer(self._patience_s, self._end_at_once)
            patience.daemon = True
            patience.start()
            raise KeyboardInterrupt

        signal.signal(signal.SIGINT, stop)
        end_without_traceback()

    def _end_at_once(self) -> NoReturn:
        self._end()
        os._exit(1)


def open_screen(workflow: Workflow, call: Call) -> Screen | None:
    """Return the screen of a call; None where another workflow has it."""
    return Screen(workflow, call) if workflow.modifier.is_main_snakefile() else None


def _names(chunks: list[str]) -> str:
    """Return the names of the first chunks, in some lines."""
    more = len(chunks) - _SHOWN_CHUNKS
    names = ", ".join(sorted(chunks)[:_SHOWN_CHUNKS]) + (f", and {more:,} more" if more > 0 else "")
    return textwrap.fill(f"chunks to do: {names}", _WIDTH, break_on_hyphens=False)
