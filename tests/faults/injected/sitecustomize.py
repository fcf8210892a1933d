"""Puts a deadly encoder or bad decoders in the place of the real ones, in the processes of a run.

A test puts this folder on PYTHONPATH; Python imports this file by its name when it starts. The
variables DEADLY and BAD_DECODERS say what is wanted.
"""

import os
import sys

if "DEADLY" in os.environ and "mert_backfill.chunk_process" in sys.orig_argv:
    import deadly_encoder

    sys.modules["mert_backfill.encoder"] = deadly_encoder

if "BAD_DECODERS" in os.environ and "mert_backfill.decoder_worker" in sys.orig_argv:
    import bad_decoders
    import mert_backfill.decode

    mert_backfill.decode.prepare_track = bad_decoders.misbehave
