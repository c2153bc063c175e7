"""Recognizers: one small file for each family, all with the same protocol of four verbs."""

from .base import InputError, ModelError, Prompt, Recognizer, Transcriber, Transcripts, weights_digest
from .load import load_recognizer

__all__ = [
    "InputError",
    "ModelError",
    "Prompt",
    "Recognizer",
    "Transcriber",
    "Transcripts",
    "load_recognizer",
    "weights_digest",
]
