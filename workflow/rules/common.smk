"""What happens while the workflow is read: configuration, lock, preview; and input functions."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "workflow" / "scripts"))

from mert_backfill.errors import UserError
from mert_backfill.system.machine import environment, wants_gpu

from _invocation import start_invocation

try:
    START = start_invocation(workflow, config)
except UserError as error:
    sys.exit(f"error: {error}")


# Snakemake ignores resources without a limit. Not in profiles/default, whose entries come before
# those of --profile: on a cluster each job asks for a GPU of its own.
if workflow.resource_settings.nodes is None and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", 1)


wildcard_constraints:
    chunk=r"part\d+-[0-9a-f]{8}",


def embed_threads(wildcards):
    """Return half of the cores: two chunks at a time, however many cores there are.

    A cluster has no number of cores, and its node's says nothing of the job's share: there it is
    1, unless --set-threads tells more.
    """
    cores = None if workflow.remote_exec else workflow.resource_settings.cores
    return max(1, (cores or 1) // 2)


def gpu_units(wildcards):
    """Return 1 where a job holds a GPU: on one machine, one job at a time does."""
    return int(START is not None and wants_gpu(START.settings.runtime.device))


def planned_chunks(wildcards):
    """Return the names of the planned chunks; known once the plan has been made."""
    import json

    plan = checkpoints.plan_chunks.get().output.plan
    return json.loads(Path(plan).read_text(encoding="utf-8"))["chunks"]


def finished_tables(wildcards):
    """Return the tables of all planned chunks."""
    return [f"results/chunks/{chunk}.tracks.tsv" for chunk in planned_chunks(wildcards)]
