"""A running run at a glance, in a terminal."""

from .state import RunState, run_state
from .view import picture
from .watch import watch

__all__ = ["RunState", "picture", "run_state", "watch"]
