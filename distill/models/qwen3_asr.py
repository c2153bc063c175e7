"""Qwen3-ASR: audio encoder, projector and Qwen3 decoder (`Qwen3ASRForConditionalGeneration`, transformers ≥ 5.13).

The prompt is the processor's own transcription request; with a known language it ends in `language X<asr_text>` and the
model writes the transcript alone, closed by `<|im_end|>`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .base import ModelError
from .speech_lm import SAMPLING_RATE, Family


def request(processor: Any, waveforms: Sequence[np.ndarray], languages: Sequence[str | None]) -> Mapping[str, Any]:
    """The transcription request, with the language named in it where it is known."""
    # Language codes or names; the processor refuses a list that mixes names with None, so group by presence.
    known = [language is not None for language in languages]
    if any(known) and not all(known):
        raise ModelError(
            "a batch mixes utterances with and without a language. Give every line of the manifest a language, or none "
            '(the prompt then asks the model to write "language X<asr_text>" itself).'
        )
    return processor.apply_transcription_request(
        audio=list(waveforms),
        language=list(languages) if all(known) else None,
        processor_kwargs={"audio_kwargs": {"sampling_rate": SAMPLING_RATE}},
    )


def read(processor: Any, rows: list[list[int]]) -> list[str]:
    """The transcripts alone; the processor knows how to part them from the markers of a detected language."""
    return processor.decode(rows, return_format="transcription_only")


FAMILY = Family("qwen3_asr", "<|im_end|>", request, read)
