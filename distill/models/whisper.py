"""Whisper: audio encoder and text decoder, English-only or multilingual (`WhisperForConditionalGeneration`).

The decoder's prompt is ``<|startoftranscript|>``, then language and ``<|transcribe|>`` for multilingual models, then
``<|notimestamps|>``. Transcripts begin with a space, as the model was trained (Radford et al. 2022), and end in
``<|endoftext|>``. Symbols that its generation settings suppress (music notes, brackets of sound events) are blocked.

With `timestamps` the prompt has no ``<|notimestamps|>``, and transcripts hold the timestamps that the model was
trained to write, as in ``<|0.00|> call four<|1.36|><|1.36|> five<|2.00|>``: they are learned, written and measured like
other tokens. Decoding removes them: error rates and a teacher's text contain only words.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from tokenizers import AddedToken
from torch import Tensor

from . import end_tokens, seq2seq
from .base import (
    SAMPLING_RATE,
    Limits,
    ModelError,
    Prompt,
    Transcripts,
    pack,
    refuse_context,
    refuse_longer,
)
from .encoder_decoder import EncoderDecoder
from .languages import language_code
from .vocabulary import Tokens

TIMESTAMP = re.compile(r"(<\|\d{1,2}\.\d\d\|>)")
"""A point in time, in seconds from the beginning of the window."""


@dataclass
class Whisper(EncoderDecoder):
    """A Whisper checkpoint behind the recognizer's protocol.

    Attributes:
        timestamps: Whether transcripts hold timestamps.
    """

    timestamps: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        tokenizer, settings = self.tokenizer, self.generator.generation_config
        # Older tokenizers list no timestamps; every id after the end of text is control.
        end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
        width = self.generator.config.vocab_size
        times = self._times(width) if self.timestamps else range(0)
        control = [*range(end + 1, width), *(settings.suppress_tokens or ())]
        ends = end_tokens.generation_ends(self.generator)
        self.tokens = Tokens.from_tokenizer(tokenizer, width, end, self._device, control, times=times, ends=ends)
        self.text_prefix = b" "
        self._multilingual = getattr(settings, "is_multilingual", None)
        if self._multilingual is None:
            self._multilingual = "<|zh|>" in tokenizer.get_vocab() and end != 50256

    def _times(self, width: int) -> range:
        """Return ids of timestamps, 20 ms apart: those after ``<|notimestamps|>``. Older tokenizers do not list
        them."""
        first = self.tokenizer.convert_tokens_to_ids("<|notimestamps|>") + 1
        names = [f"<|{i / 50:.2f}|>" for i in range(width - first)]
        if len(self.tokenizer) == first:
            self.tokenizer.add_tokens([AddedToken(name, normalized=False) for name in names])
        if not names or self.tokenizer.convert_tokens_to_ids(names) != list(range(first, width)):
            raise ModelError(
                f"{self.name}: its tokenizer lacks the timestamps, from {names[:1]} on, after <|notimestamps|>; "
                "remove timestamps, or take a published checkpoint"
            )
        return range(first, width)

    @property
    def prompt_key(self) -> Hashable:
        """Features, decoder prompt, and the encoder if it is frozen."""
        features, strings = self.processor.feature_extractor.to_json_string(), self.tokens.strings
        kind = (self._parameter.dtype, str(self._device), self.timestamps)
        return hash((features, self._multilingual, strings, *kind, self._encoder_key()))

    @property
    def names_language(self) -> bool:
        """Multilingual models detect the language if none is named."""
        return bool(self._multilingual)

    @property
    def _positions(self) -> int:
        return self.generator.config.max_target_positions

    @property
    def _prompt_tokens(self) -> int:
        return (4 if self._multilingual else 2) - int(self.timestamps)

    @property
    def limits(self) -> Limits:
        """What it can take."""
        return replace(super().limits, window_seconds=self.processor.feature_extractor.n_samples / SAMPLING_RATE)

    def check_languages(self, languages: Sequence[str | None]) -> None:
        """Refuse languages for which the model has no token.

        Raises:
            ModelError: Says which.
        """
        codes = {language: language_code(language, "Whisper") for language in languages if language is not None}
        if not self._multilingual and (others := sorted(name for name, code in codes.items() if code != "en")):
            raise ModelError(
                f"{self.name} knows English only; the manifest has utterances in {others}; leave them "
                "out or take a multilingual model"
            )
        vocabulary = self.tokenizer.get_vocab() if self._multilingual else {}
        for language, code in codes.items():
            if self._multilingual and f"<|{code}|>" not in vocabulary:
                raise ModelError(
                    f"{self.name} has no language {language!r}; write another one, or leave the language out"
                )

    def prepare(
        self,
        inputs: Sequence[np.ndarray],
        languages: Sequence[str | None],
        contexts: Sequence[str | None] | None = None,
    ) -> Prompt:
        """Return log-mel features or the outputs of a frozen encoder, and the decoder's prompt.

        Raises:
            InputError: A waveform longer than the window, or a context.
        """
        refuse_context(self.name, contexts)
        refuse_longer(inputs, self.processor.feature_extractor.n_samples, self.name)
        if self._encoder_frozen:
            made = {seq2seq.ENCODED: torch.stack(self._cached_encoder_outputs(inputs))}
        else:
            made = {"input_features": self._features(inputs)}
        return Prompt(made | {seq2seq.DECODER_PROMPT: self._decoder_prompt(made, languages)})

    def _features(self, waveforms: Sequence[np.ndarray]) -> Tensor:
        features = self.processor.feature_extractor(
            list(waveforms), sampling_rate=SAMPLING_RATE, return_tensors="pt"
        ).input_features
        return features.to(self._device, self._parameter.dtype)

    def _encode(self, waveforms: Sequence[np.ndarray]) -> Tensor:
        # One by one: the last bits of results depend on the batch size. Cached outputs must not depend on the batch, or
        # a resumed run would differ from an uninterrupted one.
        encoder = self.generator.get_encoder()
        return torch.cat([encoder(self._features([waveform])).last_hidden_state for waveform in waveforms])

    def _decoder_prompt(self, inputs: dict[str, Tensor], languages: Sequence[str | None]) -> Tensor:
        ids = self.processor.tokenizer.convert_tokens_to_ids
        start, plain = ids("<|startoftranscript|>"), [] if self.timestamps else [ids("<|notimestamps|>")]
        self.check_languages(languages)
        if not self._multilingual:
            rows = torch.tensor([[start, *plain]] * len(languages))
            return rows.to(self._device)
        wanted = [None if language is None else language_code(language, "Whisper") for language in languages]
        known = torch.tensor([-1 if code is None else ids(f"<|{code}|>") for code in wanted], device=self._device)
        if None in wanted:
            was_training = self.generator.training
            self.generator.eval()  # the detected language must not depend on dropout
            guess = self.generator.detect_language(
                **{name: (value,) if name == seq2seq.ENCODED else value for name, value in inputs.items()}
            )
            self.generator.train(was_training)
            known = torch.where(known < 0, guess.to(known), known)
        rows = torch.tensor([[start, 0, ids("<|transcribe|>"), *plain]] * len(languages), device=self._device)
        rows[:, 1] = known
        return rows

    def encode(self, texts: Sequence[str]) -> Transcripts:
        """Return token ids of the texts, each piece with a space before it, all closed by ``<|endoftext|>``."""
        spaced = ["".join(map(_spaced, TIMESTAMP.split(text) if self.timestamps else [text])) for text in texts]
        encoded = self.processor.tokenizer(spaced, add_special_tokens=False)["input_ids"]
        end = self.tokens.end_of_text
        return pack([[*ids, end] for ids in encoded], end, self._device)

    def decode(self, transcripts: Transcripts) -> list[str]:
        """Return transcripts as text, without timestamps."""
        times = (transcripts.ids >= self.tokens.times.start) & (transcripts.ids < self.tokens.times.stop)
        return super().decode(Transcripts(transcripts.ids, transcripts.mask & ~times, transcripts.finished))


def _spaced(piece: str) -> str:
    if TIMESTAMP.fullmatch(piece):
        return piece
    return "" if not piece.strip() else f" {piece.strip()}"
