"""Rank of this process, and silence in processes after the first."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def is_first() -> bool:
    """Return whether this is the first process; by the variable that torchrun and `accelerate launch` set."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def warn_in_first_process_only() -> Iterator[None]:
    """Suppress warnings in processes after the first until the end of the block: the first gives the same ones."""
    if is_first():
        yield
        return
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)
