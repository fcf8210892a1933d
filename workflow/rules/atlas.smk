"""On request: what the vectors are for."""


rule atlas:
    """What the vectors are for: neighbours, near-duplicates, index, map."""
    input:
        meta=RESULTS.meta,
    output:
        library=RESULTS.atlas_library,
        neighbors=RESULTS.atlas_neighbors,
        duplicates=RESULTS.near_duplicates,
        # without hnsw.idx: where hnswlib is missing it is left out
        paths=RESULTS.search_index_paths,
    log:
        RESULTS.log("atlas"),
    benchmark:
        RESULTS.benchmark("atlas")
    conda:
        "../../envs/embed.yaml"
    threads: threads_of_the_atlas
    params:
        profile=lambda wildcards: START.profile.fingerprint,
        calibrated=lambda wildcards: calibration_mark(RESULTS),
    message:
        "Drawing the atlas"
    script:
        "../scripts/atlas.py"
