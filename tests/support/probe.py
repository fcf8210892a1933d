"""A process that says what its path is, and imports a library."""

import json
import sys

import tqdm  # noqa: F401 - what a folder of music may hold a file of the name of

print(json.dumps(sys.path))
