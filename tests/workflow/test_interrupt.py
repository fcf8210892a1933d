"""Ctrl-C: Snakemake ends in its own orderly way, and the next call goes on."""

from __future__ import annotations

import os
import re
import signal

from support.project import EMBEDDED, Project, wait_until


def test_ctrl_c_ends_in_order_and_the_next_call_goes_on(fresh: Project) -> None:
    run = fresh.start()
    journals = fresh.results / "chunks"
    wait_until(lambda: any(journals.glob("*.journal.jsonl")), run)
    os.killpg(run.pid, signal.SIGINT)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 1, output  # not killed by the signal
    last = output.splitlines()[-1]
    assert re.fullmatch(
        r"Stopped\. \d+ of 13 done, nothing lost\. Go on with the same command\.", last
    ), output
    assert not re.search("Traceback|Error in rule|interrupted|WorkflowError", output)
    again = fresh.run()
    assert len(fresh.vectors()) == len(EMBEDDED)
    assert again.errors == []
