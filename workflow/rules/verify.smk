"""Reading every vector of the store."""


rule verify:
    log:
        "results/logs/verify.log",
    localrule: True
    conda:
        "../../envs/embed.yaml"
    message:
        "Reading every vector"
    script:
        "../scripts/verify.py"
