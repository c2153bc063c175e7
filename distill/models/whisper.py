"""Whisper: audio encoder and text decoder, English-only or multilingual (`WhisperForConditionalGeneration`).

The decoder's prompt is ``<|startoftranscript|>``, for multilingual models language and ``<|transcribe|>``, then
``<|notimestamps|>``. Transcripts begin with a space, as the model was trained (Radford et al. 2022), and end in
``<|endoftext|>``. Symbols that its generation settings suppress (music notes, brackets of sound events) are blocked.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from . import seq2seq
from .base import InputError, Limits, ModelError, Prompt, Transcripts, pack
from .encoder_decoder import EncoderDecoder
from .languages import language_code
from .vocabulary import Tokens

SAMPLING_RATE = 16_000


@dataclass
class Whisper(EncoderDecoder):
    """A Whisper checkpoint behind the recogniser's protocol."""

    def __post_init__(self) -> None:
        tokenizer, settings = self.tokenizer, self.generator.generation_config
        # Older tokenizers list no timestamps; every id after the end of text is control.
        end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
        width = self.generator.config.vocab_size
        self.tokens = Tokens.of(
            tokenizer, width, end, self._device, [*range(end + 1, width), *(settings.suppress_tokens or ())]
        )
        self.text_prefix = b" "
        self._multilingual = getattr(settings, "is_multilingual", None)
        if self._multilingual is None:
            self._multilingual = "<|zh|>" in tokenizer.get_vocab() and end != 50256

    @property
    def prompt_key(self) -> Hashable:
        """Same features, same decoder prompt, and where encoders are frozen, the same encoder."""
        features, strings = self.processor.feature_extractor.to_json_string(), self.tokens.strings
        kind = (self._parameter.dtype, str(self._device))
        return hash((features, self._multilingual, strings, *kind, self._encoder_key()))

    @property
    def _positions(self) -> int:
        return self.generator.config.max_target_positions

    @property
    def _prompt_tokens(self) -> int:
        return 4 if self._multilingual else 2

    @property
    def limits(self) -> Limits:
        """What it can take."""
        return replace(super().limits, window_seconds=self.processor.feature_extractor.n_samples / SAMPLING_RATE)

    def check_languages(self, languages: Sequence[str | None]) -> None:
        """Refuse languages that it has no token for.

        Raises:
            ModelError: Says which.
        """
        codes = {language: language_code(language, "Whisper") for language in languages if language is not None}
        if not self._multilingual and (others := sorted(name for name, code in codes.items() if code != "en")):
            raise ModelError(f"{self.name} knows English only; the manifest has utterances in {others}")
        vocabulary = self.tokenizer.get_vocab() if self._multilingual else {}
        for language, code in codes.items():
            if self._multilingual and f"<|{code}|>" not in vocabulary:
                raise ModelError(f"{self.name} has no language {language!r}")

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
            made = {seq2seq.ENCODED: torch.stack(self._listened(inputs))}
        else:
            made = {"input_features": self._features(inputs)}
        return Prompt(made | {seq2seq.DECODER_PROMPT: self._decoder_prompt(made, languages)})

    def _features(self, waveforms: Sequence[np.ndarray]) -> Tensor:
        features = self.processor.feature_extractor(
            list(waveforms), sampling_rate=SAMPLING_RATE, return_tensors="pt"
        ).input_features
        return features.to(self._device, self._parameter.dtype)

    def _encode(self, waveforms: Sequence[np.ndarray]) -> Tensor:
        # One by one: the last bits of a batch depend on its size, and what is kept must not depend on what it was
        # computed beside, or a resumed run would differ from one that was not interrupted.
        encoder = self.generator.get_encoder()
        return torch.cat([encoder(self._features([waveform])).last_hidden_state for waveform in waveforms])

    def _decoder_prompt(self, inputs: dict[str, Tensor], languages: Sequence[str | None]) -> Tensor:
        ids = self.processor.tokenizer.convert_tokens_to_ids
        start, plain = ids("<|startoftranscript|>"), ids("<|notimestamps|>")
        self.check_languages(languages)
        if not self._multilingual:
            rows = torch.tensor([[start, plain]] * len(languages))
            return rows.to(self._device)
        wanted = [None if language is None else language_code(language, "Whisper") for language in languages]
        known = torch.tensor([-1 if code is None else ids(f"<|{code}|>") for code in wanted], device=self._device)
        if None in wanted:
            guess = self.generator.detect_language(
                **{name: (value,) if name == seq2seq.ENCODED else value for name, value in inputs.items()}
            )
            known = torch.where(known < 0, guess.to(known), known)
        rows = torch.tensor([[start, 0, ids("<|transcribe|>"), plain]] * len(languages), device=self._device)
        rows[:, 1] = known
        return rows

    def encode(self, texts: Sequence[str]) -> Transcripts:
        """Token ids of the texts, each begun with a space and closed by ``<|endoftext|>``."""
        spaced = [f" {text.strip()}" if text.strip() else "" for text in texts]
        encoded = self.processor.tokenizer(spaced, add_special_tokens=False)["input_ids"]
        end = self.tokens.end_of_text
        return pack([[*ids, end] for ids in encoded], end, self._device)
