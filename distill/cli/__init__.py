"""The command line: verbs only. Each is a thin call of something that Python can call as well."""

from . import models, runs, seeing, transcripts
from .app import main

__all__ = ["main", "models", "runs", "seeing", "transcripts"]
