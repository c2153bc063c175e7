"""Moonshine: an encoder of raw waveforms and a text decoder (`MoonshineForConditionalGeneration`).

The decoder's prompt is its start token; the model knows one language, which is not named. Utterances are encoded one by
one: the encoder normalizes over time (`GroupNorm`), so padding in a batch would change the outputs of shorter
utterances, and its mask does not exclude all padding.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor

from . import end_tokens, seq2seq
from .base import SAMPLING_RATE, Prompt, Transcripts, pack, refuse_context
from .encoder_decoder import EncoderDecoder
from .vocabulary import Tokens, added_space

SHORTEST = 127 + 64 * (7 + 3 * (3 - 1) - 1)
"""Samples spanned by the three convolutions of the encoder (56 ms); shorter utterances are padded with silence."""

WAVEFORMS, LENGTHS = "input_values", "lengths"
"""Inputs of an encoder that is trained: [batch, samples] waveforms padded on the right, [batch] samples of each."""


@dataclass
class Moonshine(EncoderDecoder):
    """A Moonshine checkpoint behind the recognizer's protocol."""

    def __post_init__(self) -> None:
        end = end_tokens.end_of_text(self.name, self.tokenizer, None, self.tokenizer.eos_token_id)
        width, ends = self.generator.config.vocab_size, end_tokens.generation_ends(self.generator)
        self.tokens = Tokens.from_tokenizer(self.tokenizer, width, end, self._device, ends=ends)
        self.text_prefix = added_space(self.tokenizer)

    @property
    def prompt_key(self) -> Hashable:
        """Waveforms, start token, and the encoder if it is frozen."""
        features = self.processor.feature_extractor.to_json_string()
        kind = (self.family, self._parameter.dtype, str(self._device))
        return hash((features, self.generator.config.decoder_start_token_id, *kind, self._encoder_key()))

    @property
    def _positions(self) -> int:
        return self.generator.config.max_position_embeddings

    def prepare(
        self,
        inputs: Sequence[np.ndarray],
        languages: Sequence[str | None],
        contexts: Sequence[str | None] | None = None,
    ) -> Prompt:
        """Return waveforms or the outputs of a frozen encoder, and the decoder's start token."""
        del languages
        refuse_context(self.name, contexts)
        start = self.generator.config.decoder_start_token_id
        prompt = {seq2seq.DECODER_PROMPT: torch.full((len(inputs), 1), start, device=self._device)}
        if self._encoder_frozen:
            return Prompt(prompt | seq2seq.encoded(self._cached_encoder_outputs(inputs)))
        values = [self._values(waveform) for waveform in inputs]
        lengths = torch.tensor([len(value) for value in values])
        return Prompt(prompt | {WAVEFORMS: torch.nn.utils.rnn.pad_sequence(values, batch_first=True), LENGTHS: lengths})

    def _values(self, waveform: np.ndarray) -> Tensor:
        padded = np.pad(waveform, (0, max(0, SHORTEST - len(waveform))))
        extracted = self.processor.feature_extractor(padded, sampling_rate=SAMPLING_RATE, return_tensors="pt")
        return extracted.input_values[0].to(self._device, self._parameter.dtype)

    def _encode(self, waveforms: Sequence[np.ndarray]) -> list[Tensor]:
        return self._encode_values([self._values(waveform) for waveform in waveforms])

    def _encode_values(self, values: Sequence[Tensor]) -> list[Tensor]:
        encoder = self.generator.get_encoder()
        return [encoder(value[None]).last_hidden_state[0] for value in values]

    def _encoded(self, prompt: Prompt) -> Prompt:
        """Return the prompt with encoder outputs, computed now unless they are already there."""
        if seq2seq.ENCODED in prompt.inputs:
            return prompt
        values = [row[:n] for row, n in zip(prompt.inputs[WAVEFORMS], prompt.inputs[LENGTHS].tolist(), strict=True)]
        before = {seq2seq.DECODER_PROMPT: prompt.inputs[seq2seq.DECODER_PROMPT]}
        return Prompt(before | seq2seq.encoded(self._encode_values(values)))

    def encode(self, texts: Sequence[str]) -> Transcripts:
        """Return token ids of the texts, each closed by the end of text."""
        end = self.tokens.end_of_text
        encoded = self.tokenizer([text.strip() for text in texts], add_special_tokens=False)["input_ids"]
        return pack([[*ids, end] for ids in encoded], end, self._device)

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
        with torch.no_grad():
            encoded = self._encoded(prompt)
        return super().rollout(
            encoded,
            max_new_tokens=max_new_tokens,
            sample=sample,
            temperature=temperature,
            logits_processor=logits_processor,
        )

    def score(self, prompt: Prompt, transcripts: Transcripts) -> Tensor:
        """Return [batch, length, vocabulary] logits; position t predicts transcript token t."""
        return super().score(self._encoded(prompt), transcripts)
