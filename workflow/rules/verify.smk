"""Reading every vector of the store."""


rule verify:
    log:
        "results/logs/verify.log",
    conda:
        "../../envs/embed.yaml"
    localrule: True
    message:
        "Reading every vector"
    script:
        "../scripts/verify.py"
