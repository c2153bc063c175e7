"""Which of several processes this is, and how those after the first keep still."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def is_first() -> bool:
    """Whether this process speaks for all; by the variable that torchrun and `accelerate launch` set."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def one_voice() -> Iterator[None]:
    """In processes after the first, without warnings until the end of the block: the first gives the same ones."""
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
