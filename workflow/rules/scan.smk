"""From the music roots to the gap manifest and its chunk files."""


rule scan_library:
    output:
        manifest="results/gaps/manifest.tsv",
        summary="results/gaps/summary.json",
        pending="results/gaps/pending_embedding_paths.txt",
    log:
        "results/logs/scan_library.log",
    benchmark:
        "results/benchmarks/scan_library.tsv"
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
    input:
        manifest="results/gaps/manifest.tsv",
        # not an input of the chunks: it would do finished ones again, and an ancient input that
        # runs again keeps Snakemake from looking at the jobs behind it
        preflight="results/.state/preflight.json",
    output:
        plan="results/gaps/plan.json",
    log:
        "results/logs/plan_chunks.log",
    benchmark:
        "results/benchmarks/plan_chunks.tsv"
    localrule: True
    conda:
        "../../envs/embed.yaml"
    message:
        "Splitting the pending tracks into chunks"
    script:
        "../scripts/plan_chunks.py"
