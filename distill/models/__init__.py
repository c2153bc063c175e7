"""Recognisers: one small file a family, behind one protocol of four verbs."""

from .base import InputError, ModelError, Prompt, Recogniser, Transcriber, Transcripts, weights_digest
from .load import load_recogniser

__all__ = [
    "InputError",
    "ModelError",
    "Prompt",
    "Recogniser",
    "Transcriber",
    "Transcripts",
    "load_recogniser",
    "weights_digest",
]
