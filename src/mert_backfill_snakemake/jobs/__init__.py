"""One module for each script: its function ``run`` does the job.

Importing this package makes the process ready for it, before anything large is imported.
"""

import os
import signal
import sys

# Ctrl-C while packages load: end without a word
signal.signal(signal.SIGINT, signal.SIG_DFL)
# Snakemake hands its own path on, which may hold the folder that it was started in
_HERE = os.path.realpath(os.curdir)
sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != _HERE]
