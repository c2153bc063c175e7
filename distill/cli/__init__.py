"""The command line: verbs only. Each verb calls a function of the Python API.

What a verb calls is imported when it runs: transformers and the trainer take seconds to load, and neither help nor the
verbs that only read runs have a use for them.
"""

from . import drafting, models, reports, training, transcripts
from .app import main

__all__ = ["drafting", "main", "models", "reports", "training", "transcripts"]
