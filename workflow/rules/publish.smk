"""Writing the rebuilt meta.json over the live one."""


rule publish:
    """Writes the rebuilt meta.json over the live one, after a backup."""
    input:
        meta=RESULTS.meta,
        source=RESULTS.meta_source,
        audit=RESULTS.audit,
    output:
        record=RESULTS.published,
    log:
        RESULTS.log("publish"),
    benchmark:
        RESULTS.benchmark("publish")
    localrule: True
    conda:
        "../../envs/embed.yaml"
    params:
        # the live file as it is: what changed since the last publish is looked at again
        live=lambda wildcards: START.live_mark,
    message:
        "Publishing the rebuilt meta.json"
    script:
        "../scripts/publish.py"


rule unpublish:
    """Takes the last publish back."""
    log:
        RESULTS.log("unpublish"),
    localrule: True
    conda:
        "../../envs/embed.yaml"
    message:
        "Putting back what the last publish replaced"
    script:
        "../scripts/unpublish.py"
