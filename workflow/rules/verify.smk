"""On request: reading every vector, and decoding again what earlier versions decoded."""


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


rule recheck:
    log:
        RESULTS.log("recheck"),
    conda:
        "../../envs/embed.yaml"
    threads: threads_of_a_chunk
    message:
        "Decoding again what earlier versions decoded"
    script:
        "../scripts/recheck.py"
