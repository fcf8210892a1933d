"""What happens while the workflow is read: configuration, lock, survey; and input functions."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "workflow" / "scripts"))

from mert_backfill.errors import UserError
from mert_backfill.preflight import environment, wants_gpu

from _invocation import start_invocation

try:
    START = start_invocation(workflow, config)
except UserError as error:
    sys.exit(f"error: {error}")


wildcard_constraints:
    chunk=r"part\d+-[0-9a-f]{8}",


def embed_threads(wildcards):
    """Return half of the cores: two chunks at a time, however many cores there are."""
    return max(1, (workflow.resource_settings.cores or 1) // 2)


def gpu_units(wildcards):
    """Return 1 where a chunk holds a GPU: one chunk at a time does."""
    return int(START is not None and wants_gpu(START.settings.runtime.device))


def planned_chunks(wildcards):
    """Return the names of the planned chunks; known once the plan has been made."""
    import json

    plan = checkpoints.plan_chunks.get().output.plan
    return json.loads(Path(plan).read_text(encoding="utf-8"))["chunks"]


def finished_tables(wildcards):
    """Return the tables of all planned chunks."""
    return [f"results/chunks/{chunk}.tracks.tsv" for chunk in planned_chunks(wildcards)]
