"""From chunk files to vectors."""


rule preflight:
    input:
        summary="results/gaps/summary.json",
    output:
        "results/.state/preflight.json",
    log:
        "results/logs/preflight.log",
    benchmark:
        "results/benchmarks/preflight.tsv"
    conda:
        "../../envs/embed.yaml"
    resources:
        gpu=gpu_units,
    params:
        packages=environment(),
        profile=lambda wildcards: START.profile.name,
    message:
        "Checking environment, device, disk and store"
    script:
        "../scripts/preflight.py"


rule embed_chunk:
    input:
        # a chunk's name stands for its content: the same list is never done twice
        chunk=ancient("results/gaps/chunks/{chunk}.tsv"),
    output:
        tracks="results/chunks/{chunk}.tracks.tsv",
    log:
        "results/logs/embed_chunk/{chunk}.log",
    benchmark:
        "results/benchmarks/embed_chunk/{chunk}.tsv"
    conda:
        "../../envs/embed.yaml"
    threads: embed_threads
    resources:
        gpu=gpu_units,
        mem_mb=4500,
        runtime=1440,
    params:
        profile=lambda wildcards: START.profile.fingerprint,
    message:
        "Embedding chunk {wildcards.chunk}"
    script:
        "../scripts/embed_chunk.py"
