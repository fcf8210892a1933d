"""The vectors on the disk, one file a track, under the profile that made them."""
