"""Error rates of transcripts, with intervals."""
