"""On request: reading every vector, and decoding again what may have been shortened."""


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
        "Decoding again what may have been shortened"
    script:
        "../scripts/recheck.py"
