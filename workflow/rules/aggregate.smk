"""From vectors to meta.json, audit and report."""


rule rebuild_meta:
    """Makes results/meta/meta.json of yours and the vectors."""
    input:
        manifest=RESULTS.manifest,
        tracks=finished_tables,
    output:
        meta=RESULTS.meta,
        source=RESULTS.meta_source,
    log:
        RESULTS.log("rebuild_meta"),
    benchmark:
        RESULTS.benchmark("rebuild_meta")
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
    """Counts before and now, and names the failures: results/audit/audit.md."""
    input:
        meta=RESULTS.meta,
        summary=RESULTS.summary,
        tracks=finished_tables,
    output:
        audit=RESULTS.audit,
        page=RESULTS.audit_page,
        failures=RESULTS.failures,
        remarks=RESULTS.remarks,
        folders=RESULTS.folders,
        retry=RESULTS.retry_paths,
        progress=RESULTS.progress_page,
    log:
        RESULTS.log("audit"),
    benchmark:
        RESULTS.benchmark("audit")
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
    """Draws the audit as one page: results/audit/report.html."""
    input:
        audit=RESULTS.audit,
        summary=RESULTS.summary,
        failures=RESULTS.failures,
        remarks=RESULTS.remarks,
        folders=RESULTS.folders,
        tracks=finished_tables,
        atlas=atlas_if_any,
    output:
        pages_in_report(RESULTS),
    log:
        RESULTS.log("report"),
    benchmark:
        RESULTS.benchmark("report")
    localrule: True
    conda:
        "../../envs/embed.yaml"
    params:
        library=lambda wildcards: START.library,
    message:
        "Drawing the report"
    script:
        "../scripts/report.py"
