"""Voxtral: Whisper-style encoder, projector that merges four frames, Mistral decoder (arXiv 2507.13264).

The prompt is the transcription request of mistral-common: ``<s>[INST][BEGIN_AUDIO]``, an ``[AUDIO]`` for every merged
frame, ``[/INST]``, ``lang:en`` if the language is known, then ``[TRANSCRIBE]``. If it is not known, the model may write
``lang:en`` itself before the text (`distill.models.language_prefix`). Transcripts end in ``</s>``. Audio is padded with
silence to full windows, which the encoder reads; features therefore depend only on the utterance.

transformers reads the checkpoint's ``tekken.json`` into its own tokenizer, with special tokens and merges; it is used
here even if mistral-common is installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast, VoxtralProcessor, WhisperFeatureExtractor

from .base import ModelError
from .language_prefix import Opening
from .languages import language_code
from .speech_lm import SAMPLING_RATE, Family

FRAMES_A_POSITION = 8
"""Log-mel frames of an ``[AUDIO]`` position: the encoder halves them, the projector merges four."""

NAMES: dict[str, Any] = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
"""Roles of special tokens, which the tokenizer's file does not contain."""


class Processor:
    """Loads the same as `AutoProcessor`, but with the tokenizer of transformers."""

    @staticmethod
    def from_pretrained(model: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Any:
        """Return feature extractor and tokenizer of a checkpoint."""
        source: dict[str, Any] = {"revision": revision or "main", "trust_remote_code": trust_remote_code}
        extractor = WhisperFeatureExtractor.from_pretrained(model, **source)
        return VoxtralProcessor(extractor, PreTrainedTokenizerFast.from_pretrained(model, **source, **NAMES))


def request(
    processor: Any,
    waveforms: Sequence[np.ndarray],
    languages: Sequence[str | None],
    contexts: Sequence[str | None],
) -> Mapping[str, Any]:
    """Return log-mel features by window, and the transcription request."""
    del contexts
    tokenizer, features = processor.tokenizer, [_windows(processor.feature_extractor, one) for one in waveforms]
    marks = ["<s>", "[INST]", "[BEGIN_AUDIO]", "[AUDIO]", "[/INST]", "[TRANSCRIBE]"]
    *start, audio, end, transcribe = tokenizer.convert_tokens_to_ids(marks)
    rows = []
    for windows, language in zip(features, languages, strict=True):
        positions = len(windows) * windows.shape[-1] // FRAMES_A_POSITION
        named = [] if language is None else tokenizer(f"lang:{_code(language)}", add_special_tokens=False)["input_ids"]
        rows.append([*start, *[audio] * positions, end, *named, transcribe])
    width = max(len(row) for row in rows)
    padding = [[tokenizer.pad_token_id] * (width - len(row)) for row in rows]
    return {
        "input_ids": torch.tensor([[*left, *row] for left, row in zip(padding, rows, strict=True)]),
        "attention_mask": torch.tensor([[0] * len(left) + [1] * (width - len(left)) for left in padding]),
        "input_features": torch.cat(features),
    }


def _windows(extractor: Any, waveform: np.ndarray) -> torch.Tensor:
    """Return [windows, mel bins, frames] of a waveform, padded to full windows; normalized over all of them
    together."""
    made = extractor(
        waveform,
        sampling_rate=SAMPLING_RATE,
        padding=True,
        truncation=False,
        pad_to_multiple_of=extractor.n_samples,
        return_tensors="pt",
    ).input_features[0]
    return made.reshape(len(made), -1, extractor.nb_max_frames).transpose(0, 1)


def _code(language: str) -> str:
    code = language_code(language, "Voxtral")
    if len(code) != 2:
        raise ModelError(f"Voxtral names languages by two letters, and {language!r} has none; leave the language out")
    return code


def read(processor: Any, rows: list[list[int]]) -> list[str]:
    """Return the transcripts, without a language that the model repeated."""
    texts = processor.tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [text.removeprefix(OPENING.found_in(text)) for text in texts]


OPENING = Opening("lang:", None, "[a-z]{2}")
FAMILY = Family("voxtral", None, request, read, opening=OPENING)
