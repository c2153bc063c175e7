"""A student and its teacher: one vocabulary map, one alignment, both models on the same transcripts."""
