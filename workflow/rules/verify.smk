"""On request: reading every vector, and decoding again what earlier versions decoded."""


rule verify:
    """Reads every vector; the next run makes damaged ones again."""
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
    """Finds vectors that earlier versions made of less sound than there is."""
    log:
        RESULTS.log("recheck"),
    conda:
        "../../envs/embed.yaml"
    threads: threads_of_a_chunk
    message:
        "Decoding again what earlier versions decoded"
    script:
        "../scripts/recheck.py"
