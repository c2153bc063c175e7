"""Whisper: audio encoder and text decoder, English-only or multilingual (`WhisperForConditionalGeneration`).

The decoder's prompt is ``<|startoftranscript|>``, for multilingual models language and ``<|transcribe|>``, then
``<|notimestamps|>``. Transcripts begin with a space, as the model was trained (Radford et al. 2022), and end in
``<|endoftext|>``. Symbols that its generation settings suppress (music notes, brackets of sound events) are blocked.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from . import seq2seq
from .base import InputError, ModelError, Prompt, Transcripts, pack, quiet, weights_digest
from .vocabulary import Tokens

SAMPLING_RATE = 16_000


@dataclass
class Whisper:
    """A Whisper checkpoint behind the recogniser's protocol."""

    name: str
    model: nn.Module
    generator: Any
    processor: Any
    family: str = "whisper"
    text_prefix: bytes = b" "
    reads: Literal["audio", "prompt"] = "audio"
    tokens: Tokens = field(init=False)
    encodings: EncoderCache = field(init=False)

    def __post_init__(self) -> None:
        tokenizer, settings = self.processor.tokenizer, self.generator.generation_config
        # Older tokenizers list no timestamps; every id after the end of text is control.
        end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
        width = self.generator.config.vocab_size
        self.tokens = Tokens.of(
            tokenizer, width, end, self._device, [*range(end + 1, width), *(settings.suppress_tokens or ())]
        )
        self._multilingual = getattr(settings, "is_multilingual", None)
        if self._multilingual is None:
            self._multilingual = "<|zh|>" in tokenizer.get_vocab() and end != 50256
        self.encodings = EncoderCache()

    @property
    def tokenizer(self) -> Any:
        """The processor's."""
        return self.processor.tokenizer

    @property
    def prompt_key(self) -> Hashable:
        """Same features, same decoder prompt, and where encoders are frozen, the same encoder."""
        parameter = next(self.generator.parameters())
        encoder = self._encoder_digest() if self._encoder_frozen else None
        features, strings = self.processor.feature_extractor.to_json_string(), self.tokens.strings
        return hash((features, self._multilingual, strings, parameter.dtype, str(parameter.device), encoder))

    @property
    def _device(self) -> torch.device:
        return next(self.generator.parameters()).device

    @property
    def _encoder_frozen(self) -> bool:
        return not any(parameter.requires_grad for parameter in self.generator.get_encoder().parameters())

    def freeze_encoder(self, cache_mib: float) -> None:
        """Take the encoder out of training and keep its outputs, up to so many MiB of them."""
        self.generator.get_encoder().requires_grad_(False)
        self.encodings.max_mib = cache_mib

    def _encoder_digest(self) -> str:
        """Computed once: frozen weights do not change."""
        if not hasattr(self, "_digest"):
            self._digest = weights_digest(self.generator.get_encoder())
        return self._digest

    def prepare(self, inputs: Sequence[np.ndarray], languages: Sequence[str | None]) -> Prompt:
        """Log-mel features, or what a frozen encoder makes of them, and the decoder's prompt.

        Raises:
            InputError: A waveform longer than the window.
        """
        extractor = self.processor.feature_extractor
        for row, waveform in enumerate(inputs):
            if len(waveform) > extractor.n_samples:
                raise InputError(
                    row,
                    f"{self.name}: audio of {len(waveform) / SAMPLING_RATE:.2f} s, its window is "
                    f"{extractor.n_samples / SAMPLING_RATE:g} s. Split the utterance; audio is never cut silently.",
                )
        if self._encoder_frozen:
            made = {seq2seq.ENCODED: self.encodings.encoded(inputs, self._encode)}
        else:
            made = {"input_features": self._features(inputs)}
        return Prompt(made | {seq2seq.DECODER_PROMPT: self._decoder_prompt(made, languages)})

    def _features(self, waveforms: Sequence[np.ndarray]) -> Tensor:
        features = self.processor.feature_extractor(
            list(waveforms), sampling_rate=SAMPLING_RATE, return_tensors="pt"
        ).input_features
        parameter = next(self.generator.parameters())
        return features.to(parameter.device, parameter.dtype)

    @torch.no_grad()
    def _encode(self, waveforms: Sequence[np.ndarray]) -> Tensor:
        encoder = self.generator.get_encoder()
        was_training = encoder.training
        encoder.eval()  # frozen layers have no use for dropout
        hidden = encoder(self._features(waveforms)).last_hidden_state
        encoder.train(was_training)
        return hidden

    def _decoder_prompt(self, inputs: dict[str, Tensor], languages: Sequence[str | None]) -> Tensor:
        ids = self.processor.tokenizer.convert_tokens_to_ids
        start, plain = ids("<|startoftranscript|>"), ids("<|notimestamps|>")
        if not self._multilingual:
            others = {language for language in languages if language is not None and _code(language) != "en"}
            if others:
                raise ModelError(f"{self.name} knows English only; the manifest has utterances in {sorted(others)}")
            rows = torch.tensor([[start, plain]] * len(languages))
            return rows.to(self._device)
        wanted = [None if language is None else _code(language) for language in languages]
        known = torch.tensor([-1 if code is None else ids(f"<|{code}|>") for code in wanted], device=self._device)
        if None in wanted:
            guess = self.generator.detect_language(
                **{name: (value,) if name == seq2seq.ENCODED else value for name, value in inputs.items()}
            )
            known = torch.where(known < 0, guess.to(known), known)
        rows = torch.tensor([[start, 0, ids("<|transcribe|>"), plain]] * len(languages), device=self._device)
        rows[:, 1] = known
        return rows

    def prompt_text(self, prompt: Prompt, row: int) -> str:
        """The decoder's prompt; the audio is the encoder's."""
        return self.tokenizer.decode(prompt.inputs[seq2seq.DECODER_PROMPT][row].tolist(), skip_special_tokens=False)

    def encode(self, texts: Sequence[str]) -> Transcripts:
        """Token ids of the texts, each begun with a space and closed by ``<|endoftext|>``."""
        spaced = [f" {text.strip()}" if text.strip() else "" for text in texts]
        encoded = self.processor.tokenizer(spaced, add_special_tokens=False)["input_ids"]
        end = self.tokens.end_of_text
        return pack([[*ids, end] for ids in encoded], end, self._device)

    def rollout(
        self, prompt: Prompt, *, max_new_tokens: int, sample: bool = False, temperature: float = 1.0
    ) -> Transcripts:
        """Greedy or sampled transcripts; as long as the decoder has positions for at most."""
        config = self.generator.config
        room = config.max_target_positions - prompt.inputs[seq2seq.DECODER_PROMPT].shape[1]
        return seq2seq.rollout(
            self.generator,
            prompt,
            self.tokens,
            width=config.vocab_size,
            max_new_tokens=min(max_new_tokens, room),
            sample=sample,
            temperature=temperature,
        )

    def score(self, prompt: Prompt, transcripts: Transcripts) -> Tensor:
        """[batch, length, vocabulary] logits; position t predicts transcript token t."""
        return seq2seq.score(self.model, prompt, transcripts, self.tokens)

    def decode(self, transcripts: Transcripts) -> list[str]:
        """Transcripts as text."""
        rows = [row[keep].tolist() for row, keep in zip(transcripts.ids, transcripts.mask, strict=True)]
        texts = self.processor.tokenizer.batch_decode(
            rows, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return [text.strip() for text in texts]

    def save(self, directory: Path, state_dict: dict[str, Tensor] | None = None) -> None:
        """`save_pretrained` of model and processor."""
        with quiet():
            self.generator.save_pretrained(directory, state_dict=state_dict)
            self.processor.save_pretrained(directory)


def _code(language: str) -> str:
    """The model's two- or three-letter code of a language given by code or by name.

    Raises:
        ModelError: Whisper does not know it.
    """
    lower = language.lower()
    if lower in LANGUAGES:
        return lower
    if lower in TO_LANGUAGE_CODE:
        return TO_LANGUAGE_CODE[lower]
    raise ModelError(f"Whisper has no language {language!r}; give a name such as 'English', or a code such as 'en'")


@dataclass
class EncoderCache:
    """What a frozen encoder made of utterances, the least recently used given up first.

    Training comes back to each utterance many times, and the encoder of a small recogniser costs more than its decoder.

    Attributes:
        max_mib: Memory for hidden states, in MiB; 0 keeps nothing.
    """

    max_mib: float = 0.0
    _kept: OrderedDict[bytes, Tensor] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def encoded(self, waveforms: Sequence[np.ndarray], encode: Any) -> Tensor:
        """[batch, frames, hidden] of the waveforms, computing only what is not kept."""
        keys = [hashlib.blake2b(waveform.tobytes(), digest_size=16).digest() for waveform in waveforms]
        new = [i for i, key in enumerate(keys) if key not in self._kept]
        fresh = dict(zip(new, encode([waveforms[i] for i in new]), strict=True)) if new else {}
        rows = [fresh[i] if i in fresh else self._kept[key] for i, key in enumerate(keys)]
        for key, row in zip(keys, rows, strict=True):
            self._keep(key, row)
        return torch.stack(rows)

    def _keep(self, key: bytes, hidden: Tensor) -> None:
        limit = self.max_mib * 2**20
        if key in self._kept:
            self._kept.move_to_end(key)
            return
        if hidden.nbytes > limit:
            return
        self._kept[key] = hidden.clone()
        self._bytes += hidden.nbytes
        while self._bytes > limit:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
