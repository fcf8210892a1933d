"""What the rules ask for while Snakemake looks at them."""

from __future__ import annotations

from mert_backfill.records.preflight import device_found
from mert_backfill.results import CHARTS, Results
from mert_backfill.settings import Settings
from mert_backfill.system.machine import usable_cpus, wants_gpu
from mert_backfill_snakemake.objects import Workflow


def embed_threads(workflow: Workflow) -> int:
    """Return half of the cores: two chunks at a time, however many cores there are.

    Snakemake may have been given more cores than a container's quota lets it use. A cluster has no
    number of cores, and its node's says nothing of the job's share: there it is 1, unless
    --set-threads tells more.
    """
    return max(1, all_threads(workflow) // 2)


def all_threads(workflow: Workflow) -> int:
    """Return all of the cores; 1 on a cluster, see `embed_threads`."""
    cores = None if workflow.remote_exec else workflow.resource_settings.cores
    return min(cores, usable_cpus()) if cores else 1


def pages_in_report(results: Results) -> list[object]:
    """Return the report and its charts, as files that Snakemake's own report shows."""
    from snakemake.io import report

    page = report(
        results.report,
        caption="../report/audit.rst",
        category="Audit",
        labels={"page": "report"},
    )
    charts = [
        report(
            results.chart(name),
            caption=f"../report/{name}.rst",
            category="Charts",
            labels={"chart": title},
        )
        for name, title in CHARTS.items()
    ]
    return [page, *charts]


def chunks_at_a_time(workflow: Workflow, settings: Settings) -> int:
    """Return how many chunks a run works on at the same time."""
    nodes = workflow.resource_settings.nodes
    if nodes is not None:
        return max(1, nodes)
    found, found_at = device_found(settings.results)
    if wants_gpu(settings.runtime.device, found=found, found_at=found_at):
        limits = workflow.global_resources
        return max(1, int(limits["gpu"].value)) if "gpu" in limits else 1
    cores = min(workflow.resource_settings.cores or usable_cpus(), usable_cpus())
    return cores // max(1, cores // 2)
