"""The command line: verbs only. Each verb calls a function of the Python API.

A verb's function is imported when it runs: transformers and the trainer take seconds to load, and neither help nor
verbs that only read runs need them.
"""

from . import checking, drafting, probing, reports, training, transcripts
from .app import main

__all__ = ["checking", "drafting", "main", "probing", "reports", "training", "transcripts"]
