"""Teachers behind a server that returns log-probabilities of prompts (vLLM, SGLang).

A server shows its best tokens and no logits: what depends on more comes as bounds (`overlap.measure_bounds`).
"""

from .errors import ServerError
from .loading import load_served_teacher
from .served import ServedTeacher

__all__ = ["ServedTeacher", "ServerError", "load_served_teacher"]
