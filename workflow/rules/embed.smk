"""From chunk files to vectors."""


rule preflight:
    """Checks environment, device, disk and model before the first chunk."""
    input:
        summary=RESULTS.summary,
    output:
        RESULTS.preflight,
    log:
        RESULTS.log("preflight"),
    benchmark:
        RESULTS.benchmark("preflight")
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


rule calibrate:
    """Finds out which recipe made the vectors of your meta.json."""
    input:
        # old is good enough: a new scan is no reason to calibrate again
        preflight=ancient(RESULTS.preflight),
    output:
        RESULTS.calibrated,
    log:
        RESULTS.log("calibrate"),
    benchmark:
        RESULTS.benchmark("calibrate")
    conda:
        "../../envs/embed.yaml"
    threads: all_cores  # nothing else is at work
    resources:
        gpu=gpu_units,
        mem_mb=memory_mb_of_any_recipe,
        runtime=1440,
    message:
        "Embedding some of the baseline's tracks again, to see which recipe made their vectors"
    script:
        "../scripts/calibrate.py"


rule embed_chunk:
    """Embeds the tracks of one chunk."""
    input:
        # a chunk's name stands for its content: the same list is never done twice
        chunk=ancient(RESULTS.chunk_file("{chunk}")),
    output:
        tracks=RESULTS.tracks_table("{chunk}"),
    log:
        RESULTS.log("embed_chunk/{chunk}"),
    benchmark:
        RESULTS.benchmark("embed_chunk/{chunk}")
    conda:
        "../../envs/embed.yaml"
    threads: threads_of_a_chunk
    resources:
        gpu=gpu_units,
        mem_mb=memory_mb,
        runtime=1440,
    params:
        profile=lambda wildcards: START.profile.fingerprint,
    message:
        "Embedding chunk {wildcards.chunk}"
    script:
        "../scripts/embed_chunk.py"
