"""Comparing two vocabularies: map between token ids, bytes of tokens, alignment of tokenizations, coverage."""
