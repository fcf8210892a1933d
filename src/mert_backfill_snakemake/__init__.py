"""Between Snakemake and the core: what runs while a Snakefile is read, and what a job does."""
