"""Writing the rebuilt meta.json over the live one."""


rule publish:
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
    message:
        "Publishing the rebuilt meta.json"
    script:
        "../scripts/publish.py"


rule unpublish:
    log:
        RESULTS.log("unpublish"),
    localrule: True
    conda:
        "../../envs/embed.yaml"
    message:
        "Putting back what the last publish replaced"
    script:
        "../scripts/unpublish.py"
