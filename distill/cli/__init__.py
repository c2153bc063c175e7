"""The command line: verbs only. Each verb calls a function of the Python API.

A verb's function is imported when it runs: transformers and the trainer take seconds to load, and neither help nor
verbs that only read runs need them.
"""

from . import drafting, probing, reports, training, transcripts
from .app import main

__all__ = ["drafting", "main", "probing", "reports", "training", "transcripts"]
