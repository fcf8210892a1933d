"""What is out of order in meta.json."""


rule triage:
    """Says what is out of order in meta.json and proposes a cure; changes nothing."""
    log:
        RESULTS.log("triage"),
    localrule: True
    conda:
        "../../envs/embed.yaml"
    message:
        "Looking for what is out of order in meta.json"
    script:
        "../scripts/triage.py"
