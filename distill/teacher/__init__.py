"""Teachers behind a server that returns log-probabilities of prompts (vLLM, SGLang).

A server returns its best tokens and no logits: statistics that need more are bounds (`overlap.measure_bounds`).
"""

from .errors import ServerError
from .served import ServedTeacher, load_served_teacher

__all__ = ["ServedTeacher", "ServerError", "load_served_teacher"]
