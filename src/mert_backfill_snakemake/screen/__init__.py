"""What a person sees of a run: its messages, one line for the backlog, and how it ended.

Snakemake tells of its own affairs in a hundred lines a run. They are in its log (.snakemake/log),
and on the terminal with ``--verbose``. Where the workflow is a module of another one, the screen
belongs to that one.
"""
