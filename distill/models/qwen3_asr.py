"""Qwen3-ASR: audio encoder, projector and Qwen3 decoder (`Qwen3ASRForConditionalGeneration`, transformers ≥ 5.13).

The prompt is the processor's own transcription request; with a known language it ends in `language X<asr_text>` and the
model writes the transcript alone, closed by `<|im_end|>`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import causal
from .base import ModelError, Prompt, Transcripts, pack, quiet
from .vocabulary import Tokens

SAMPLING_RATE = 16_000


@dataclass
class Qwen3ASR:
    """A Qwen3-ASR checkpoint behind the recogniser's protocol."""

    name: str
    model: nn.Module
    generator: Any
    processor: Any
    family: str = "qwen3_asr"
    text_prefix: bytes = b""
    tokens: Tokens = field(init=False)
    prompt_key: Hashable = field(init=False)

    def __post_init__(self) -> None:
        tokenizer = self.processor.tokenizer
        end = tokenizer.convert_tokens_to_ids("<|im_end|>")
        if end is None or end == tokenizer.unk_token_id:
            raise ModelError(f"{self.name}: its tokenizer has no <|im_end|>, so transcripts have no end of text")
        self.tokens = Tokens.of(tokenizer, self._width, end, self._device)
        features, template = self.processor.feature_extractor.to_json_string(), self.processor.chat_template
        parameter = next(self.generator.parameters())
        self.prompt_key = hash((features, template, self.tokens.strings, parameter.dtype, str(parameter.device)))

    @property
    def _device(self) -> torch.device:
        return next(self.generator.parameters()).device

    @property
    def tokenizer(self) -> Any:
        """The processor's."""
        return self.processor.tokenizer

    @property
    def _width(self) -> int:
        return self.generator.config.text_config.vocab_size

    def prepare(self, waveforms: Sequence[np.ndarray], languages: Sequence[str | None]) -> Prompt:
        """Log-mel features and the chat prompt, left-padded."""
        # Language codes or names; the processor refuses a list that mixes names with None, so group by presence.
        known = [language is not None for language in languages]
        if any(known) and not all(known):
            raise ModelError(
                f"{self.name}: a batch mixes utterances with and without a language. Give every line of the manifest a "
                'language, or none (the prompt then asks the model to write "language X<asr_text>" itself).'
            )
        inputs = self.processor.apply_transcription_request(
            audio=list(waveforms),
            language=list(languages) if all(known) else None,
            processor_kwargs={"audio_kwargs": {"sampling_rate": SAMPLING_RATE}},
        )
        dtype = next(self.generator.parameters()).dtype
        moved = {name: value.to(self._device) for name, value in inputs.items() if isinstance(value, Tensor)}
        moved["input_features"] = moved["input_features"].to(dtype)
        return Prompt(moved)

    def encode(self, texts: Sequence[str]) -> Transcripts:
        """Token ids of the texts, each closed by `<|im_end|>`."""
        end = self.tokens.end_of_text
        encoded = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return pack([[*ids, end] for ids in encoded], end, self._device)

    def rollout(
        self, prompt: Prompt, *, max_new_tokens: int, sample: bool = False, temperature: float = 1.0
    ) -> Transcripts:
        """Greedy or sampled transcripts; blocked tokens and padding ids are suppressed."""
        return causal.rollout(
            self.generator,
            prompt,
            self.tokens,
            width=self._width,
            max_new_tokens=max_new_tokens,
            sample=sample,
            temperature=temperature,
        )

    def score(self, prompt: Prompt, transcripts: Transcripts) -> Tensor:
        """[batch, length, vocabulary] logits; position t predicts transcript token t."""
        return causal.score(self.model, prompt, transcripts, self.tokens)

    def decode(self, transcripts: Transcripts) -> list[str]:
        """Transcripts as text."""
        rows = [row[keep].tolist() for row, keep in zip(transcripts.ids, transcripts.mask, strict=True)]
        # The markers of a detected language precede <asr_text>; the processor knows how to part them.
        return [text.strip() for text in self.processor.decode(rows, return_format="transcription_only")]

    def save(self, directory: Path, state_dict: dict[str, Tensor] | None = None) -> None:
        """`save_pretrained` of model and processor."""
        with quiet():
            self.generator.save_pretrained(directory, state_dict=state_dict)
            self.processor.save_pretrained(directory)
