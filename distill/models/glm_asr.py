"""GLM-ASR: audio encoder, projector and a Llama-shaped decoder (`GlmAsrForConditionalGeneration`, transformers ≥ 5.13).

The prompt is the processor's own transcription request, which names no language. Its configuration lists several ids
that end a turn; transcripts are closed by the tokenizer's own end of sequence and the others are blocked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .speech_lm import SAMPLING_RATE, Family


def request(
    processor: Any,
    waveforms: Sequence[np.ndarray],
    languages: Sequence[str | None],
    contexts: Sequence[str | None],
) -> Mapping[str, Any]:
    """Return the transcription request; the model detects the language itself."""
    del languages, contexts
    return processor.apply_transcription_request(
        audio=list(waveforms), processor_kwargs={"audio_kwargs": {"sampling_rate": SAMPLING_RATE}}
    )


def read(processor: Any, rows: list[list[int]]) -> list[str]:
    """Return the transcripts without control tokens."""
    return processor.tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)


FAMILY = Family("glmasr", None, request, read)
