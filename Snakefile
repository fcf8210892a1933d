"""MERT Backfill: brings every track of a music library to a MERT embedding. See README.md."""


include: "workflow/Snakefile"


# a target of its own: Snakemake forgets that of a file that is included
rule all:
    """Embeds what is pending; then meta.json, audit and report."""
    default_target: True
    input:
        rules.everything.input,
    message:
        "All is up to date"
