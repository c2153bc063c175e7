"""Qwen3-ASR: audio encoder, projector and Qwen3 decoder (`Qwen3ASRForConditionalGeneration`, transformers ≥ 5.13).

The prompt is the processor's own transcription request; with a known language it ends in `language X<asr_text>` and the
model writes the transcript alone, closed by `<|im_end|>`.

Features are extracted one by one. In a batch, transformers' extractor pads waveforms before it takes their spectrum:
whether the part of a frame at the end counts, what the last frames hear and what stands behind them would depend on the
longest. Alone, the part of a frame is dropped and zeros follow.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature

from .base import ModelError
from .speech_lm import SAMPLING_RATE, Family


@dataclass(frozen=True)
class OneByOne:
    """A feature extractor's features of each utterance by itself, padded with zeros to the longest's frames."""

    extractor: Any

    def __call__(self, waveforms: Sequence[np.ndarray], **options: Any) -> BatchFeature:
        """[batch, mel bins, frames] features and [batch, frames] mask."""
        made = [self.extractor(waveform, **options) for waveform in waveforms]
        frames = max(one["attention_mask"].shape[-1] for one in made)
        return BatchFeature({name: torch.cat([_padded(one[name], frames) for one in made]) for name in made[0]})

    def __getattr__(self, name: str) -> Any:
        return getattr(self.extractor, name)


def _padded(rows: torch.Tensor, frames: int) -> torch.Tensor:
    return torch.nn.functional.pad(rows, (0, frames - rows.shape[-1]))


def request(processor: Any, waveforms: Sequence[np.ndarray], languages: Sequence[str | None]) -> Mapping[str, Any]:
    """The transcription request, with the language named in it where it is known."""
    # Language codes or names; the processor refuses a list that mixes names with None, so group by presence.
    known = [language is not None for language in languages]
    if any(known) and not all(known):
        raise ModelError(
            "a batch mixes utterances with and without a language. Give every line of the manifest a language, or none "
            '(the prompt then asks the model to write "language X<asr_text>" itself).'
        )
    alone = copy.copy(processor)
    alone.feature_extractor = OneByOne(processor.feature_extractor)
    return alone.apply_transcription_request(
        audio=list(waveforms),
        language=list(languages) if all(known) else None,
        processor_kwargs={"audio_kwargs": {"sampling_rate": SAMPLING_RATE}},
    )


def read(processor: Any, rows: list[list[int]]) -> list[str]:
    """The transcripts alone; the processor knows how to part them from the markers of a detected language."""
    return processor.decode(rows, return_format="transcription_only")


FAMILY = Family("qwen3_asr", "<|im_end|>", request, read)
