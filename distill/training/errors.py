"""The error that ends a run early, in a module of its own so that reporting it does not import the trainer."""

from __future__ import annotations

from overlap.errors import UserError


class TrainingError(UserError):
    """A run that cannot continue; its files so far are kept."""
