"""Two vocabularies as one: the map between token ids, tokens' bytes, alignment of texts, coverage."""
