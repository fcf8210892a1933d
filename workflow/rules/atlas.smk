"""On request: what the vectors are for."""

# where there is an atlas only calls that ask for it know how to draw it: in others the report takes
# its files as they are, and a new track does not draw them again
if ASKS_FOR_ATLAS or not RESULTS.has_atlas:

    rule atlas_files:
        input:
            meta=RESULTS.meta,
            calibration=calibration,
        output:
            library=RESULTS.atlas_library,
            neighbors=RESULTS.atlas_neighbors,
            map=RESULTS.atlas_map,
            duplicates=RESULTS.near_duplicates,
            # without hnsw.idx: where hnswlib is missing it is left out
            paths=RESULTS.search_index_paths,
        log:
            RESULTS.log("atlas"),
        benchmark:
            RESULTS.benchmark("atlas")
        conda:
            "../../envs/embed.yaml"
        threads: all_cores
        params:
            profile=lambda wildcards: START.profile.fingerprint,
            accepted=lambda wildcards: START.settings.calibration.accept,
        message:
            "Drawing the atlas"
        script:
            "../scripts/atlas.py"


rule atlas:
    """What the vectors are for: neighbours, near-duplicates, index, map."""
    input:
        *RESULTS.atlas,
        RESULTS.report,
    message:
        "The atlas is drawn"
