"""Puts the src folder of this checkout first on Python's path: the one place that finds it.

The Snakefile imports it, and so does each script. What is installed (``pip install -e .``) may be
another checkout, and the environment of a job may hold none. Snakemake puts the folder of a
Snakefile, in which this file lies, on the path of both.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
