"""Writing the rebuilt meta.json over the live one."""


rule publish:
    input:
        meta="results/meta/meta.json",
        source="results/meta/source.json",
        audit="results/audit/audit.json",
    output:
        record="results/meta/published.json",
    log:
        "results/logs/publish.log",
    benchmark:
        "results/benchmarks/publish.tsv"
    localrule: True
    conda:
        "../../envs/embed.yaml"
    message:
        "Publishing the rebuilt meta.json"
    script:
        "../scripts/publish.py"
