"""The limit on transcripts of the study of looping students, apart from the study: pages are filled without pytest."""

LIMIT = 200
"""Longest transcript, in tokens: 20 a second of the longest audio, as a recipe without a limit has it."""
