"""Qwen3-ASR: audio encoder, projector and Qwen3 decoder (`Qwen3ASRForConditionalGeneration`, transformers ≥ 5.15).

The prompt is the processor's own transcription request, which ends in `language X<asr_text>`; the transcript follows,
closed by `<|im_end|>`. A known language is named there; otherwise the model writes these words itself
(`distill.models.language_prefix`). In either case they belong to the prompt; transcripts, labels and measured positions
contain only text. Before 5.15, transformers named the language in the system turn, which differs from the training of
the checkpoints. The context of an utterance (names, hotwords) stands in the system turn.

Features are extracted one by one. In a batch, transformers' extractor pads waveforms before computing spectra, so the
last frames would depend on the longest utterance. Alone, the incomplete last frame is dropped and zeros follow.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from transformers.models.qwen3_asr.processing_qwen3_asr import LANGUAGE_CODE_TO_NAME

from .base import InputError, ModelError
from .language_prefix import Opening
from .languages import same_language
from .speech_lm import SAMPLING_RATE, Family


@dataclass(frozen=True)
class OneByOne:
    """A feature extractor that processes utterances one by one and pads features with zeros to the longest."""

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


MARKER = "<asr_text>"
"""The token that ends the words that name the language."""


def request(
    processor: Any,
    waveforms: Sequence[np.ndarray],
    languages: Sequence[str | None],
    contexts: Sequence[str | None],
) -> Mapping[str, Any]:
    """Return the transcription request, with the language named in it where it is known.

    Raises:
        InputError: A language that the processor does not know, or a context that holds a control token.
        ModelError: A prompt that differs from the family's, because of transformers before 5.15 or another chat
            template.
    """
    languages = [None if language is None else _named(row, language) for row, language in enumerate(languages)]
    for row, context in enumerate(contexts):
        if context is not None:
            _check_context(row, context, processor.tokenizer)
    known = [language is not None for language in languages]
    # The processor refuses a list that mixes names with None.
    parts = [([row for row, named in enumerate(known) if named is side]) for side in (True, False) if side in known]
    alone = copy.copy(processor)
    alone.feature_extractor = OneByOne(processor.feature_extractor)
    marker = processor.tokenizer.convert_tokens_to_ids(MARKER)
    made: list[tuple[list[int], Mapping[str, torch.Tensor]]] = []
    for rows in parts:
        named = languages[rows[0]] is not None
        inputs = alone.apply_transcription_request(
            audio=[waveforms[row] for row in rows],
            language=[languages[row] for row in rows] if named else None,
            prompt=[contexts[row] for row in rows],
            processor_kwargs={"audio_kwargs": {"sampling_rate": SAMPLING_RATE}},
        )
        if bool((inputs["input_ids"][:, -1] == marker).all()) is not named:
            raise ModelError(
                f"its processor's request ends in {processor.tokenizer.decode(inputs['input_ids'][0][-8:])!r}, not in "
                f"{'language X' + MARKER if named else 'the beginning of an answer'!r}; take transformers ≥ 5.15 and a "
                "chat template that writes what the assistant says"
            )
        made.append((rows, inputs))
    return made[0][1] if len(made) == 1 else _joined(made, processor.tokenizer.pad_token_id)


def _named(row: int, language: str) -> str:
    """Return a language as the processor accepts it: its name or code, which may differ from the code in Whisper's
    table."""
    names = {name.lower() for name in LANGUAGE_CODE_TO_NAME.values()}
    if language.lower() in names | LANGUAGE_CODE_TO_NAME.keys():
        return language
    for code in LANGUAGE_CODE_TO_NAME:
        if same_language(code, language):
            return code
    raise InputError(
        row,
        f"Qwen3-ASR has no language {language!r}; give one of {', '.join(sorted(LANGUAGE_CODE_TO_NAME.values()))} "
        "or their codes, or leave it out: the model then names it itself",
    )


def _check_context(row: int, context: str, tokenizer: Any) -> None:
    for token in tokenizer.added_tokens_decoder.values():
        if (token.special or token.content == MARKER) and token.content in context:
            raise InputError(
                row, f"its context contains the control token {token.content!r}, which would end the turn; remove it"
            )


def _joined(made: Sequence[tuple[list[int], Mapping[str, torch.Tensor]]], padding: int) -> Mapping[str, torch.Tensor]:
    """Join single inputs into a batch: texts padded on the left, features on the right, rows in order."""
    order = torch.tensor([row for rows, _ in made for row in rows]).argsort()
    joined = {}
    for name in made[0][1]:
        width = max(inputs[name].shape[-1] for _, inputs in made)
        left, value = name in ("input_ids", "attention_mask"), padding if name == "input_ids" else 0
        padded = []
        for _, inputs in made:
            missing = width - inputs[name].shape[-1]
            sides = (missing, 0) if left else (0, missing)
            padded.append(torch.nn.functional.pad(inputs[name], sides, value=value))
        joined[name] = torch.cat(padded)[order]
    return joined


def read(processor: Any, rows: list[list[int]]) -> list[str]:
    """Return the transcripts: the text after the marker, if a language was named.

    The processor's `transcription_only` is not used, because it shortens text that repeats more than twenty times;
    measurements, filters and scores must see loops.
    """
    marker = processor.tokenizer.convert_tokens_to_ids(MARKER)
    texts = [row[row.index(marker) + 1 :] if marker in row else row for row in rows]
    return processor.tokenizer.batch_decode(texts, skip_special_tokens=True, clean_up_tokenization_spaces=False)


FAMILY = Family("qwen3_asr", "<|im_end|>", request, read, opening=Opening("language ", MARKER), takes_context=True)
