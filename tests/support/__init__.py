"""What the tests share: libraries, models, audio files, stand-ins for decoder and encoder."""

from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
ROOT_NAME = "lib"
