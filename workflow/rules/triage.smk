"""What is out of order in meta.json, and putting it in order."""


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


rule tidy:
    """Puts meta.json in order, as --config apply=relink,merge,archive names it."""
    log:
        RESULTS.log("tidy"),
    localrule: True
    conda:
        "../../envs/embed.yaml"
    message:
        "Putting meta.json in order"
    script:
        "../scripts/tidy.py"


rule untidy:
    """Takes back what tidy changed in meta.json."""
    log:
        RESULTS.log("untidy"),
    localrule: True
    conda:
        "../../envs/embed.yaml"
    message:
        "Taking back what was tidied in meta.json"
    script:
        "../scripts/untidy.py"
