"""What a run keeps on disk: its directory, checkpoints, and what it was made from."""
