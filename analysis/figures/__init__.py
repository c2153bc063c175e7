"""Figures of runs. Each function returns matplotlib Axes; saving them, and the style around them, is the caller's."""

from .overlap_over_training import overlap_over_training

__all__ = ["overlap_over_training"]
