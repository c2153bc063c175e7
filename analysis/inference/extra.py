"""statsmodels, where it is installed."""

from __future__ import annotations

import importlib
from typing import Any


def statsmodels(module: str) -> Any:
    """A module of statsmodels, imported when it is needed.

    Raises:
        ImportError: It is not installed; names the extra.
    """
    try:
        return importlib.import_module(f"statsmodels.{module}")
    except ImportError as error:
        raise ImportError(
            f"this needs statsmodels.{module}: pip install 'support-overlap[analysis]' ({error})"
        ) from error
