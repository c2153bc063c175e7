"""Shows a run's state in a terminal."""

from .state import RunState, run_state
from .view import picture
from .watch import watch

__all__ = ["RunState", "picture", "run_state", "watch"]
