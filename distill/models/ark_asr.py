"""Ark-ASR: Whisper-style encoder, adapter that merges four frames, Qwen2 decoder (arXiv 2605.28139); remote code.

The prompt is ``<|user|><|begin_of_audio|>``, one position for every merged frame, ``<|end_of_audio|>Please transcribe
this audio.<|assistant|>``, made by the checkpoint's own processor; it names no language. Transcripts end in
``<|im_end|>``. Its encoder has no mask and reads padding too. Features therefore always span the whole window and do
not depend on other utterances of the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .base import SAMPLING_RATE, refuse_longer
from .speech_lm import Family

INSTRUCTION = "Please transcribe this audio."


def request(
    processor: Any,
    waveforms: Sequence[np.ndarray],
    languages: Sequence[str | None],
    contexts: Sequence[str | None],
) -> Mapping[str, Any]:
    """Return the instruction that it was trained on; one utterance at a time, since the processor returns no mask."""
    del languages, contexts
    window = processor.feature_extractor.n_samples
    refuse_longer(waveforms, window)
    made = [_one(processor, waveform, window) for waveform in waveforms]
    rows, end = [one["input_ids"][0] for one in made], processor.tokenizer.eos_token_id
    width = max(len(row) for row in rows)
    return {
        "input_ids": torch.stack([_left_padded(row, width, end) for row in rows]),
        "attention_mask": torch.stack([_left_padded(torch.ones_like(row), width, 0) for row in rows]),
        "audios": torch.cat([one["audios"] for one in made]),
    }


def _one(processor: Any, waveform: np.ndarray, window: int) -> Mapping[str, Tensor]:
    content = [{"type": "audio", "array": waveform}, {"type": "text", "text": INSTRUCTION}]
    return processor.apply_chat_template(
        [[{"role": "user", "content": content}]],
        return_tensors="pt",
        sampling_rate=SAMPLING_RATE,
        audio_padding="max_length",
        audio_max_length=window,
        add_generation_prompt=True,
        text_kwargs={"padding": "longest"},
    )


def _left_padded(row: Tensor, width: int, value: int) -> Tensor:
    return nn.functional.pad(row, (width - len(row), 0), value=value)


def read(processor: Any, rows: list[list[int]]) -> list[str]:
    """Return the transcripts without control tokens."""
    return processor.tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def encoder(generator: Any) -> nn.Module:
    """Return the Whisper-style encoder, without the adapter behind it."""
    return generator.audio_encoder.whisper


def window_seconds(processor: Any) -> float:
    """Return the longest audio that features span."""
    return processor.feature_extractor.n_samples / SAMPLING_RATE


FAMILY = Family("arkasr", "<|im_end|>", request, read, encoder, window_seconds=window_seconds)
