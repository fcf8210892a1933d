"""Input functions, and what else several rules share."""


wildcard_constraints:
    chunk=r"part\d+-[0-9a-f]{8}",


def threads_of_a_chunk(wildcards):
    return embed_threads(workflow)


def all_cores(wildcards):
    return all_threads(workflow)


def memory_mb(wildcards):
    return START.memory_mb if START else 0


def memory_mb_of_any_recipe(wildcards):
    return max(MEMORY_MB.values())


def calibration(wildcards):
    """Return what a calibration leaves, where the baseline has one or needs one."""
    return [RESULTS.calibrated] if START and START.calibrates else []


def gpu_units(wildcards):
    return START.gpu_units if START else 0


def newer_than_a_scan(wildcards):
    return list(START.newer_than_a_scan) if START else []


def finished_tables(wildcards):
    """Return the tables of all planned chunks; known once the plan has been made."""
    plan = checkpoints.plan_chunks.get().output.plan
    return [RESULTS.tracks_table(chunk) for chunk in read_chunk_names(plan)]


def atlas_if_any(wildcards):
    """Return the files of the atlas, if there is one or one is asked for."""
    return [*RESULTS.atlas] if ASKS_FOR_ATLAS or RESULTS.has_atlas else []
