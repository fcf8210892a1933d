"""MERT Backfill: brings every track of a music library to a MERT embedding. See README.md."""

import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")
sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from mert_backfill.config_file import check_config_files
from mert_backfill.errors import UserError

# a run in another folder (snakemake --directory) may have a config/config.yaml of its own
CONFIG = Path("config/config.yaml")
if not CONFIG.is_file():
    CONFIG = Path(workflow.basedir) / CONFIG
try:
    check_config_files([CONFIG, *workflow.config_settings.configfiles])
except UserError as error:
    sys.exit(f"error: {error}")


configfile: str(CONFIG)


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
        # not only inputs of inputs: Snakemake looks for what is missing among its targets alone
        finished_tables,
    message:
        "All is up to date"
