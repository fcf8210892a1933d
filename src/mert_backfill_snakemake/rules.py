"""What the rules ask for while Snakemake looks at them."""

from __future__ import annotations

from mert_backfill.system.machine import usable_cpus
from mert_backfill_snakemake.objects import Workflow


def embed_threads(workflow: Workflow) -> int:
    """Return half of the cores: two chunks at a time, however many cores there are.

    Snakemake may have been given more cores than a container's quota lets it use. A cluster has no
    number of cores, and its node's says nothing of the job's share: there it is 1, unless
    --set-threads tells more.
    """
    cores = None if workflow.remote_exec else workflow.resource_settings.cores
    return max(1, min(cores, usable_cpus()) // 2) if cores else 1
