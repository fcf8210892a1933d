"""From the music roots to the gap manifest and its chunk files."""


rule scan_library:
    """Finds what is missing: results/gaps/."""
    input:
        newer_than_a_scan,
    output:
        manifest=RESULTS.manifest,
        summary=RESULTS.summary,
        pending=RESULTS.pending_paths,
    log:
        RESULTS.log("scan_library"),
    benchmark:
        RESULTS.benchmark("scan_library")
    localrule: True
    conda:
        "../../envs/embed.yaml"
    params:
        library=lambda wildcards: START.library,
    message:
        "Scanning the library"
    script:
        "../scripts/scan_library.py"


checkpoint plan_chunks:
    """Splits the pending tracks into chunks."""
    input:
        manifest=RESULTS.manifest,
        # not an input of the chunks: it would do finished ones again, and an ancient input that
        # runs again keeps Snakemake from looking at the jobs behind it
        preflight=RESULTS.preflight,
        calibration=ancient(calibration),
    output:
        plan=RESULTS.plan,
    log:
        RESULTS.log("plan_chunks"),
    benchmark:
        RESULTS.benchmark("plan_chunks")
    localrule: True
    conda:
        "../../envs/embed.yaml"
    message:
        "Splitting the pending tracks into chunks"
    script:
        "../scripts/plan_chunks.py"
