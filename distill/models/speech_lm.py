"""Recognizers that are language models with audio input: one sequence of chat prompt, audio and transcript.

A family defines the differences: the request to the processor, the token that ends a transcript, and its decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LogitsProcessor

from overlap.errors import UserError

from . import causal, end_tokens
from .base import (
    SAMPLING_RATE,
    InputError,
    Limits,
    ModelError,
    Prompt,
    Transcripts,
    pack,
    refuse_context,
    without_progress_bars,
)
from .language_prefix import Opening, opened
from .vocabulary import Tokens

_SILENCE = np.zeros(SAMPLING_RATE // 2, dtype=np.float32)


@dataclass(frozen=True)
class Family:
    """What differs between families.

    Attributes:
        name: The `model_type` of their configurations.
        end_of_text: The token that closes a transcript; None takes the tokenizer's own end of sequence.
        request: The processor's inputs for waveforms, languages and contexts; raises `ModelError` if there can be no
            such request.
        read: Decodes token sequences with the processor: complete texts without control tokens.
        encoder: The model's audio encoder; None asks transformers for it.
        opening: The text that the model writes first if no language is named; None if it writes nothing.
        takes_context: Whether the request has a place for an utterance's context.
        window_seconds: Its processor's longest audio; None if there is no limit.
    """

    name: str
    end_of_text: str | None
    request: Callable[[Any, Sequence[np.ndarray], Sequence[str | None], Sequence[str | None]], Mapping[str, Any]]
    read: Callable[[Any, list[list[int]]], list[str]]
    encoder: Callable[[Any], nn.Module] | None = None
    opening: Opening | None = None
    takes_context: bool = False
    window_seconds: Callable[[Any], float] | None = None


@dataclass
class SpeechLM:
    """A checkpoint of such a family with the recognizer's protocol; `end_of_text` overrides the family's."""

    name: str
    model: nn.Module
    generator: Any
    processor: Any
    kind: Family
    end_of_text: str | None = None
    text_prefix: bytes = b""
    reads: Literal["audio", "prompt"] = "audio"
    tokens: Tokens = field(init=False)
    prompt_key: Hashable = field(init=False)

    def __post_init__(self) -> None:
        tokenizer, wanted = self.tokenizer, self.end_of_text or self.kind.end_of_text
        end = end_tokens.end_of_text(self.name, tokenizer, wanted, tokenizer.eos_token_id)
        ends = (tokenizer.eos_token_id, *end_tokens.generation_ends(self.generator))
        self.tokens = Tokens.from_tokenizer(tokenizer, self._width, end, self._device, ends=ends)
        self._asked = causal.accepted_inputs(self.generator)
        features, template = self.processor.feature_extractor.to_json_string(), self.processor.chat_template
        parameter = next(self.generator.parameters())
        self.prompt_key = hash((features, template, self.tokens.strings, parameter.dtype, str(parameter.device)))
        self._check_request()

    def _check_request(self) -> None:
        """Refuse a processor that cannot make requests, before its error is attributed to an utterance."""
        try:
            asked = self.request([_SILENCE], [None])
            marker = getattr(
                self.processor, "audio_token", None
            )  # transformers 5.15 does not notice that it is missing in GLM-ASR's
            place = None if marker is None else self.tokenizer.convert_tokens_to_ids(marker)
            if place is not None and not bool((asked.inputs["input_ids"] == place).any()):
                raise UserError(f"{marker} has no place in it")
        except ModelError:
            raise
        except ValueError as error:
            why = f"its processor and chat template cannot make a request ({error})"
            if self.processor.chat_template is None:
                why = "its processor has no chat template"
            raise ModelError(
                f"{self.name}: {why}; copy chat_template.jinja again from the model that it was made from"
            ) from error

    @property
    def family(self) -> str:
        """Its name."""
        return self.kind.name

    @property
    def tokenizer(self) -> Any:
        """The processor's."""
        return self.processor.tokenizer

    @property
    def _device(self) -> torch.device:
        return next(self.generator.parameters()).device

    @property
    def _width(self) -> int:
        return self.generator.config.get_text_config().vocab_size

    def freeze_encoder(self, cache_mib: float) -> None:
        """Freeze the audio encoder; its outputs are computed within the forward pass and cannot be cached."""
        del cache_mib
        if self.kind.encoder is not None:
            self.kind.encoder(self.generator).requires_grad_(False)
            return
        encoder = self.generator.get_encoder(modality="audio")
        if encoder is self.generator or encoder is self.generator.base_model:  # returned if it finds none
            raise ModelError(f"{self.name}: transformers names no audio encoder in a {self.kind.name} model")
        encoder.requires_grad_(False)

    @property
    def takes_context(self) -> bool:
        """Whether its request has a place for an utterance's context."""
        return self.kind.takes_context

    @property
    def names_language(self) -> bool:
        """Whether it names the language itself if none is given."""
        return self.kind.opening is not None

    @property
    def limits(self) -> Limits:
        """Limits of inputs; audio takes part of the context."""
        window, text = self.kind.window_seconds, self.generator.config.get_text_config()
        return Limits(window and window(self.processor), getattr(text, "max_position_embeddings", None))

    def check_languages(self, languages: Sequence[str | None]) -> None:
        """Refuse languages that the processor does not support.

        Raises:
            ModelError: Says which.
        """
        try:
            self.kind.request(self.processor, [_SILENCE] * len(languages), languages, [None] * len(languages))
        except ValueError as error:  # of the processor, or of this module
            raise ModelError(str(error)) from error

    def prompt_tokens(self, read: np.ndarray, language: str | None, context: str | None) -> int:
        """Return tokens of the request including audio, without an opening that the model writes.

        Raises:
            ModelError: A request that cannot be made.
        """
        return int(self.request([read], [language], [context]).inputs["attention_mask"].sum())

    def prepare(
        self,
        inputs: Sequence[np.ndarray],
        languages: Sequence[str | None],
        contexts: Sequence[str | None] | None = None,
    ) -> Prompt:
        """Return audio features and the chat prompt, left-padded; it ends where the text begins.

        Raises:
            InputError: An utterance that it cannot take.
            ModelError: A request that cannot be made.
        """
        if not self.kind.takes_context:
            refuse_context(self.name, contexts)
        prompt, opening = self.request(inputs, languages, contexts), self.kind.opening
        unnamed = [row for row, language in enumerate(languages) if language is None]
        if opening is None or not unnamed:
            return prompt
        return opened(self.generator, prompt, self.tokens, self.tokenizer, opening, unnamed, self._width)

    def request(
        self,
        inputs: Sequence[np.ndarray],
        languages: Sequence[str | None],
        contexts: Sequence[str | None] | None = None,
    ) -> Prompt:
        """Return the request before the model writes anything; needs no weights."""
        try:
            made = self.kind.request(self.processor, inputs, languages, contexts or [None] * len(inputs))
        except InputError as error:
            raise InputError(error.row, f"{self.name}: {error}") from error
        except ModelError as error:
            raise ModelError(f"{self.name}: {error}") from error
        dtype = next(self.generator.parameters()).dtype
        tensors = {name: value for name, value in made.items() if isinstance(value, Tensor)}
        return Prompt(
            {
                name: value.to(self._device, dtype if value.is_floating_point() else None)
                for name, value in tensors.items()
            }
        )

    def prompt_text(self, prompt: Prompt, row: int) -> str:
        """Return the chat prompt; a run of audio positions is written once, with their number."""
        kept = prompt.inputs["attention_mask"][row].bool()
        ids = prompt.inputs["input_ids"][row][kept].tolist()
        parts = []
        for token, run in groupby(ids):
            n = len(list(run))
            parts.append(f"{self.tokenizer.decode([token])}×{n}" if n > 3 else self.tokenizer.decode([token] * n))
        return "".join(parts)

    def encode(self, texts: Sequence[str]) -> Transcripts:
        """Return token ids of the texts, each closed by the end of text."""
        end = self.tokens.end_of_text
        encoded = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return pack([[*ids, end] for ids in encoded], end, self._device)

    def room(self, prompt: Prompt) -> int | None:
        """Return None: a rollout is limited by `max_new_tokens` alone."""
        del prompt

    def rollout(
        self,
        prompt: Prompt,
        *,
        max_new_tokens: int,
        sample: bool = False,
        temperature: float = 1.0,
        logits_processor: LogitsProcessor | None = None,
    ) -> Transcripts:
        """Return greedy or sampled rollouts; blocked tokens and padding ids are suppressed."""
        return causal.rollout(
            self.generator,
            prompt,
            self.tokens,
            width=self._width,
            max_new_tokens=max_new_tokens,
            sample=sample,
            temperature=temperature,
            logits_processor=logits_processor,
        )

    def score(self, prompt: Prompt, transcripts: Transcripts) -> Tensor:
        """Return [batch, length, vocabulary] logits; position t predicts transcript token t."""
        return causal.score(self.model, prompt, transcripts, self.tokens, self._asked)

    def decode(self, transcripts: Transcripts) -> list[str]:
        """Return transcripts as text."""
        rows = [row[keep].tolist() for row, keep in zip(transcripts.ids, transcripts.mask, strict=True)]
        return [text.strip() for text in self.kind.read(self.processor, rows)]

    def save(self, directory: Path, state_dict: dict[str, Tensor] | None = None) -> None:
        """Save model and processor by `save_pretrained`."""
        with without_progress_bars():
            self.generator.save_pretrained(directory, state_dict=state_dict)
            self.processor.save_pretrained(directory)
