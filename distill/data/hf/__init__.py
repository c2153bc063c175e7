"""Data sets of the Hugging Face library `datasets`, wherever manifests are accepted."""
