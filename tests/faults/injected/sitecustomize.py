"""Puts a deadly encoder in the place of the real one, in the process that holds the model.

A test puts this folder on PYTHONPATH; Python imports this file by its name when it starts.
"""

import sys

if "mert_backfill.chunk_process" in sys.orig_argv:
    import deadly_encoder

    sys.modules["mert_backfill.encoder"] = deadly_encoder
