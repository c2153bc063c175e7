"""The common part of recognizers with an audio encoder and a text decoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LogitsProcessor

from . import seq2seq
from .base import Limits, Prompt, Transcripts, weights_digest, without_progress_bars
from .encodings import EncoderCache
from .vocabulary import Tokens


@dataclass
class EncoderDecoder(ABC):
    """A checkpoint of an encoder-decoder; a family adds `prepare`, `prompt_key` and `encode`.

    Attributes:
        processor: Feature extractor and tokenizer.
        text_prefix: Text at the start of transcripts that `decode` removes.
        tokens: Set by the family.
        encodings: Cached encoder outputs, once it is frozen.
    """

    name: str
    model: nn.Module
    generator: Any
    processor: Any
    reads: Literal["audio", "prompt"] = "audio"
    text_prefix: bytes = field(init=False)
    tokens: Tokens = field(init=False)
    encodings: EncoderCache = field(default_factory=EncoderCache, init=False)

    @property
    def family(self) -> str:
        """`model_type` of its configuration."""
        return self.generator.config.model_type

    @property
    def takes_context(self) -> bool:
        """False: the prompt has no place for a context."""
        return False

    @property
    def names_language(self) -> bool:
        """False unless a family overrides it."""
        return False

    @property
    def tokenizer(self) -> Any:
        """The processor's."""
        return self.processor.tokenizer

    @property
    def _parameter(self) -> nn.Parameter:
        """Any parameter, for device and dtype."""
        return next(self.generator.parameters())

    @property
    def _device(self) -> torch.device:
        return self._parameter.device

    @property
    @abstractmethod
    def _positions(self) -> int:
        """Positions of the decoder, including its prompt."""

    @property
    def _prompt_tokens(self) -> int:
        """Tokens of the decoder's prompt."""
        return 1

    @property
    def limits(self) -> Limits:
        """Limits of inputs. The last token of a transcript is only predicted and takes no position."""
        return Limits(label_tokens=self._positions - self._prompt_tokens + 1)

    def check_languages(self, languages: Sequence[str | None]) -> None:
        """Accept every language, because prompts name none."""
        del languages

    def prompt_tokens(self, read: Any, language: str | None, context: str | None) -> int:
        """Return 0: the encoder reads the audio, and `limits` already excludes the decoder's prompt."""
        del read, language, context
        return 0

    @property
    def _encoder_frozen(self) -> bool:
        return not any(parameter.requires_grad for parameter in self.generator.get_encoder().parameters())

    def freeze_encoder(self, cache_mib: float) -> None:
        """Freeze the encoder and cache its outputs, up to `cache_mib` MiB."""
        self.generator.get_encoder().requires_grad_(False)
        self.encodings = EncoderCache(cache_mib)

    def _encoder_key(self) -> str | None:
        """Return the key of a frozen encoder, because its outputs are inputs; computed once, because its weights do not
        change."""
        if not self._encoder_frozen:
            return None
        if not hasattr(self, "_digest"):
            self._digest = weights_digest(self.generator.get_encoder())
        return self._digest

    def _cached_encoder_outputs(self, waveforms: Sequence[np.ndarray]) -> list[Tensor]:
        """Return [frames, hidden] of each waveform by the frozen encoder."""

        @torch.no_grad()
        def encode(new: Sequence[np.ndarray]) -> Sequence[Tensor] | Tensor:
            encoder = self.generator.get_encoder()
            was_training = encoder.training
            encoder.eval()  # no dropout in frozen layers
            hidden = self._encode(new)
            encoder.train(was_training)
            return hidden

        return self.encodings.encoded(waveforms, encode)

    @abstractmethod
    def _encode(self, waveforms: Sequence[np.ndarray]) -> Sequence[Tensor] | Tensor:
        """Return [frames, hidden] of each waveform, computed now."""

    def prompt_text(self, prompt: Prompt, row: int) -> str:
        """Return the decoder's prompt; audio is read by the encoder."""
        return self.tokenizer.decode(prompt.inputs[seq2seq.DECODER_PROMPT][row].tolist(), skip_special_tokens=False)

    def room(self, prompt: Prompt) -> int | None:
        """Return the longest transcript: the positions of the decoder after its prompt."""
        return self._positions - prompt.inputs[seq2seq.DECODER_PROMPT].shape[1]

    def rollout(
        self,
        prompt: Prompt,
        *,
        max_new_tokens: int,
        sample: bool = False,
        temperature: float = 1.0,
        logits_processor: LogitsProcessor | None = None,
    ) -> Transcripts:
        """Return greedy or sampled rollouts, limited by the positions of the decoder."""
        room = self.room(prompt)
        assert room is not None
        return seq2seq.rollout(
            self.generator,
            prompt,
            self.tokens,
            width=self.generator.config.vocab_size,
            max_new_tokens=min(max_new_tokens, room),
            sample=sample,
            temperature=temperature,
            logits_processor=logits_processor,
        )

    def score(self, prompt: Prompt, transcripts: Transcripts) -> Tensor:
        """Return [batch, length, vocabulary] logits; position t predicts transcript token t."""
        return seq2seq.score(self.model, prompt, transcripts, self.tokens)

    def decode(self, transcripts: Transcripts) -> list[str]:
        """Return transcripts as text."""
        rows = [row[keep].tolist() for row, keep in zip(transcripts.ids, transcripts.mask, strict=True)]
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return [text.strip() for text in texts]

    def save(self, directory: Path, state_dict: dict[str, Tensor] | None = None) -> None:
        """Save model and processor by `save_pretrained`."""
        with without_progress_bars():
            self.generator.save_pretrained(directory, state_dict=state_dict)
            self.processor.save_pretrained(directory)
