"""Teachers behind a server that returns log-probabilities of prompts (vLLM, SGLang).

A server shows its best tokens and no logits: what depends on more comes as bounds (`overlap.measure_bounds`).
"""

from .errors import ServerError
from .served import ServedTeacher, load_served_teacher

__all__ = ["ServedTeacher", "ServerError", "load_served_teacher"]
