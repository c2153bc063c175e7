"""Finds speech, and so the pauses between, in a recording: by Silero VAD, a small network that its package brings."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from overlap.extras import require

from ..models.base import SAMPLING_RATE

Span = tuple[float, float]
"""Begin and end in seconds."""


def speech_in(waveform: NDArray[np.float32]) -> list[Span]:
    """Return the spans of a waveform in which somebody speaks, in order; with the settings that the package ships.

    Pauses shorter than 0.1 s are part of the speech around them.

    Args:
        waveform: Mono samples at 16 kHz, float32 of shape [samples].

    Raises:
        MissingExtraError: silero-vad is not installed.
    """
    library, model = _detector()
    with torch.no_grad():
        found = library.get_speech_timestamps(torch.from_numpy(waveform), model, sampling_rate=SAMPLING_RATE)
    model.reset_states()
    return [(span["start"] / SAMPLING_RATE, span["end"] / SAMPLING_RATE) for span in found]


@lru_cache(maxsize=1)
def _detector() -> tuple[Any, Any]:
    threads = torch.get_num_threads()
    library = require("silero_vad", extra="long", purpose="cutting recordings at pauses")
    torch.set_num_threads(threads)  # its import sets one for the whole process
    with warnings.catch_warnings():
        # The package still loads its network by torch.jit; users can do nothing about that.
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.", category=DeprecationWarning)
        return library, library.load_silero_vad()
