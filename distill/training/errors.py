"""What ends a run before its time, apart from what runs it: whoever reports it need not load that."""

from __future__ import annotations

from overlap.errors import UserError


class TrainingError(UserError):
    """A run that cannot go on; what it wrote so far stays."""
