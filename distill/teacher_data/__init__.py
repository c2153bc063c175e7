"""Transcripts by a teacher as training data: written batch by batch, with their confidence, and filtered."""
