"""Teachers behind a server that returns log-probabilities of prompts (vLLM, SGLang).

A server returns top-k log-probabilities and no logits: statistics that need more are bounds (`overlap.measure_bounds`).
"""

from .errors import ServerError
from .loading import load_served_teacher
from .served import ServedTeacher

__all__ = ["ServedTeacher", "ServerError", "load_served_teacher"]
