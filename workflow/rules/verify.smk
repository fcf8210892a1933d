"""Reading every vector of the store."""


rule verify:
    log:
        RESULTS.log("verify"),
    localrule: True
    conda:
        "../../envs/embed.yaml"
    message:
        "Reading every vector"
    script:
        "../scripts/verify.py"
