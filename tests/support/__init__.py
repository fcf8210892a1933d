"""What the tests share: libraries, models, audio files, stand-ins for decoder and encoder."""
