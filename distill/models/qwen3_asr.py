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

from .base import ModelError, Prompt, Transcripts, cut_at_end, pack, quiet

SAMPLING_RATE = 16_000


@dataclass
class Qwen3ASR:
    """A Qwen3-ASR checkpoint behind the recogniser's protocol."""

    name: str
    model: nn.Module
    generator: Any
    processor: Any
    family: str = "qwen3_asr"
    end_of_text: int = field(init=False)
    blocked: Tensor = field(init=False)
    token_strings: tuple[str, ...] = field(init=False)
    prompt_key: Hashable = field(init=False)

    def __post_init__(self) -> None:
        tokenizer = self.processor.tokenizer
        # The logit dimension of real checkpoints is padded past the tokenizer; ids beyond it are no tokens at all.
        self._size = min(len(tokenizer), self.generator.config.text_config.vocab_size)
        self.end_of_text = tokenizer.convert_tokens_to_ids("<|im_end|>")
        if self.end_of_text is None or self.end_of_text == tokenizer.unk_token_id:
            raise ModelError(f"{self.name}: its tokenizer has no <|im_end|>, so transcripts have no end of text")
        self.token_strings = tuple(tokenizer.convert_ids_to_tokens(list(range(self._size))))
        # Added tokens (chat, audio, language and tool markers, other end-of-text ids) are never part of a transcript.
        control = {i for i in (*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids) if i < self._size}
        self.blocked = torch.zeros(self._size, dtype=torch.bool, device=self._device)
        self.blocked[sorted(control - {self.end_of_text})] = True
        features, template = self.processor.feature_extractor.to_json_string(), self.processor.chat_template
        parameter = next(self.generator.parameters())
        self.prompt_key = hash((features, template, self.token_strings, parameter.dtype, str(parameter.device)))

    @property
    def _device(self) -> torch.device:
        return next(self.generator.parameters()).device

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
        encoded = self.processor.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return pack([[*ids, self.end_of_text] for ids in encoded], self.end_of_text, self._device)

    @torch.no_grad()
    def rollout(
        self, prompt: Prompt, *, max_new_tokens: int, sample: bool = False, temperature: float = 1.0
    ) -> Transcripts:
        """Greedy or sampled transcripts; blocked tokens and padding ids are suppressed."""
        was_training = self.generator.training
        self.generator.eval()
        width = self.generator.config.text_config.vocab_size
        suppressed = self.blocked.nonzero().squeeze(-1).tolist() + list(range(self._size, width))
        generated = self.generator.generate(
            **prompt.inputs,
            max_new_tokens=max_new_tokens,
            do_sample=sample,
            temperature=temperature if sample else None,
            top_k=None,
            top_p=None,
            suppress_tokens=suppressed or None,
            eos_token_id=self.end_of_text,
            pad_token_id=self.end_of_text,
        )
        self.generator.train(was_training)
        return cut_at_end(generated[:, prompt.inputs["input_ids"].shape[1] :], self.end_of_text)

    def score(self, prompt: Prompt, transcripts: Transcripts) -> Tensor:
        """[batch, length, vocabulary] logits; position t predicts transcript token t."""
        length = transcripts.ids.shape[1]
        if length == 0:
            return torch.empty(prompt.batch_size, 0, self._size, device=self._device)
        attention = torch.cat([prompt.inputs["attention_mask"], transcripts.mask.long()], dim=1)
        output = self.model(
            **{**prompt.inputs, "input_ids": torch.cat([prompt.inputs["input_ids"], transcripts.ids], dim=1)}
            | {"attention_mask": attention, "position_ids": (attention.cumsum(-1) - 1).clamp(min=0)},
            logits_to_keep=length + 1,
            use_cache=False,
        )
        return output.logits[:, :-1, : self._size]

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
