"""MERT Backfill: brings every track of a music library to a MERT embedding. See README.md."""

from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")


# a run in another folder (snakemake --directory) may have a config/config.yaml of its own
CONFIG = Path("config/config.yaml")


configfile: str(CONFIG if CONFIG.is_file() else Path(workflow.basedir) / CONFIG)


include: "workflow/rules/common.smk"
include: "workflow/rules/scan.smk"
include: "workflow/rules/embed.smk"
include: "workflow/rules/aggregate.smk"
include: "workflow/rules/publish.smk"
include: "workflow/rules/verify.smk"


rule all:
    default_target: True
    input:
        "results/audit/report.html",
        "results/audit/audit.json",
        "results/meta/meta.json",
