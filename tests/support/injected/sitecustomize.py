"""Puts a deadly encoder or bad decoders in the place of the real ones, in the processes of a run.

A test puts this folder on PYTHONPATH; Python imports this file by its name when it starts. The
variables DEADLY and BAD_DECODERS say what is wanted.
"""

import os
import sys

if "DEADLY" in os.environ and "mert_backfill.chunk.worker" in sys.orig_argv:
    from support.injected import deadly_encoder

    sys.modules["mert_backfill.model.encoder"] = deadly_encoder

if "BAD_DECODERS" in os.environ and "mert_backfill.audio.worker" in sys.orig_argv:
    import mert_backfill.audio.decode
    from support import bad_decoders

    mert_backfill.audio.decode.prepare_track = bad_decoders.misbehave
