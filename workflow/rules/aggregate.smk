"""From vectors to meta.json, audit and report."""


rule rebuild_meta:
    input:
        manifest="results/gaps/manifest.tsv",
        tracks=finished_tables,
    output:
        meta="results/meta/meta.json",
        source="results/meta/source.json",
    log:
        "results/logs/rebuild_meta.log",
    benchmark:
        "results/benchmarks/rebuild_meta.tsv"
    localrule: True
    conda:
        "../../envs/embed.yaml"
    params:
        # an equal manifest may be planned again, so its content alone tells too little
        library=lambda wildcards: START.library,
        stale_policy=lambda wildcards: START.settings.meta.stale_policy,
    message:
        "Rebuilding meta.json"
    script:
        "../scripts/rebuild_meta.py"


rule audit:
    input:
        meta="results/meta/meta.json",
        summary="results/gaps/summary.json",
        tracks=finished_tables,
    output:
        audit="results/audit/audit.json",
        page="results/audit/audit.md",
        failures="results/audit/failures.tsv",
        retry="results/audit/retry_paths.txt",
        progress="results/audit/progress.md",
    log:
        "results/logs/audit.log",
    benchmark:
        "results/benchmarks/audit.tsv"
    localrule: True
    conda:
        "../../envs/embed.yaml"
    params:
        library=lambda wildcards: START.library,
    message:
        "Auditing the rebuilt meta.json against the baseline"
    script:
        "../scripts/audit.py"


rule report:
    input:
        audit="results/audit/audit.json",
        summary="results/gaps/summary.json",
        failures="results/audit/failures.tsv",
        tracks=finished_tables,
    output:
        report(
            "results/audit/report.html",
            caption="../report/audit.rst",
            category="Audit",
            labels={"page": "report"},
        ),
    log:
        "results/logs/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    localrule: True
    conda:
        "../../envs/embed.yaml"
    params:
        library=lambda wildcards: START.library,
    message:
        "Drawing the report"
    script:
        "../scripts/report.py"
