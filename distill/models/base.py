"""The protocol of recognizer families, and the two kinds of batches that they exchange with the trainer."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessor
from transformers.utils import logging as transformers_logging

from overlap.errors import UserError

from .vocabulary import Tokens

SAMPLING_RATE = 16_000
"""Samples a second of the waveforms that models take."""


class ModelError(UserError):
    """A checkpoint that cannot be used; the message names it and the remedy."""


class InputError(ModelError):
    """An utterance that a model cannot read; code that knows the batch prefixes the utterance's name to the message.

    Attributes:
        row: Its index in the batch.
    """

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


@dataclass(frozen=True)
class Transcripts:
    """A batch of token sequences in one recognizer's vocabulary, right-padded; end of text is included if it was
    written.

    Attributes:
        ids: [batch, length] token ids, padding filled with the end-of-text id.
        mask: [batch, length] bool, True at real positions.
        finished: [batch] bool, True where the sequence ends in end of text.
        is_encoded: Whether some of the ids were encoded from a text, because the tokens that the writer used are
            unknown.
    """

    ids: Tensor
    mask: Tensor
    finished: Tensor
    is_encoded: bool = False

    def to(self, device: torch.device) -> Transcripts:
        """Return the same transcripts on a device."""
        return Transcripts(self.ids.to(device), self.mask.to(device), self.finished.to(device), self.is_encoded)

    @property
    def lengths(self) -> Tensor:
        """[batch] text tokens, end of text not counted."""
        return self.mask.sum(-1) - self.finished.long()

    @property
    def text_ids(self) -> list[list[int]]:
        """The tokens of each text, without end of text."""
        return [row[:n].tolist() for row, n in zip(self.ids, self.lengths.tolist(), strict=True)]


@dataclass(frozen=True)
class Prompt:
    """Model inputs of a batch of utterances: everything before the first transcript token, left-padded.

    Attributes:
        inputs: Tensors by name.
        utterances: Ids of the utterances if known, for messages.
    """

    inputs: dict[str, Tensor]
    utterances: tuple[str, ...] = ()

    @property
    def batch_size(self) -> int:
        """Number of utterances."""
        return next(iter(self.inputs.values())).shape[0]


@dataclass(frozen=True)
class Limits:
    """Limits of a model's inputs.

    Attributes:
        window_seconds: Longest audio; None if the model has no limit of its own.
        label_tokens: Maximum number of tokens that it can score: transcript, end of text, and the tokens that
            `Transcriber.prompt_tokens` counts; None if there is no limit.
    """

    window_seconds: float | None = None
    label_tokens: int | None = None


class Transcriber(Protocol):
    """A model that writes transcripts, local or served: prepare, rollout, encode, decode.

    `reads` names the field of an utterance that is its input; a text model reads prompts.

    `text_prefix` is written before each text and removed by `decode`, such as a space. Blocked tokens are excluded from
    all supports of both models. Transcribers with the same `prompt_key` prepare the same inputs, on the same device
    and of the same type.
    """

    name: str
    tokens: Tokens
    text_prefix: bytes
    reads: Literal["audio", "prompt"]

    @property
    def family(self) -> str:
        """`model_type` of its configuration."""
        ...

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, of a kind that `overlap.vocab.token_bytes` reads."""
        ...

    @property
    def prompt_key(self) -> Hashable:
        """Key of everything that the inputs depend on."""
        ...

    @property
    def takes_context(self) -> bool:
        """Whether its prompt has a place for an utterance's context."""
        ...

    @property
    def names_language(self) -> bool:
        """Whether it names the language itself if none is given; such a prompt depends on this model."""
        ...

    def prepare(
        self,
        inputs: Sequence[Any],
        languages: Sequence[str | None],
        contexts: Sequence[str | None] | None = None,
    ) -> Prompt:
        """Return model inputs for what it reads: mono waveforms at 16 kHz, or text prompts
        (`manifest.Utterance.prompt`).

        If the family's prompt names the language and it is not known, the model names it.

        Args:
            inputs: Of each utterance.
            languages: By name or code; None where it is not known.
            contexts: Hints for an utterance, such as names; None if there is none. Models whose prompt has no place for
                it refuse it.

        Raises:
            InputError: An utterance that it cannot take.
        """
        ...

    @property
    def limits(self) -> Limits:
        """What it can take."""
        ...

    def check_languages(self, languages: Sequence[str | None]) -> None:
        """Refuse languages that prompts in one batch cannot name.

        Raises:
            ModelError: Says which.
        """
        ...

    def prompt_tokens(self, read: Any, language: str | None, context: str | None) -> int:
        """Return the number of prompt tokens that share `limits.label_tokens` with the text after them; computed
        without weights.

        Args:
            read: A waveform, or a text prompt.
            language: By name or code; None where it is not known.
            context: What the utterance may be about; None where nothing is said.

        Raises:
            ModelError: A prompt that cannot be made.
        """
        ...

    def prompt_text(self, prompt: Prompt, row: int) -> str:
        """Return the prompt as text, with markers spelled out and audio abbreviated."""
        ...

    def encode(self, texts: Sequence[str]) -> Transcripts:
        """Return transcripts as tokens, each closed by end of text."""
        ...

    def rollout(
        self, prompt: Prompt, *, max_new_tokens: int, sample: bool = False, temperature: float = 1.0
    ) -> Transcripts:
        """Generate transcripts, without gradients."""
        ...

    def decode(self, transcripts: Transcripts) -> list[str]:
        """Return texts, without control tokens."""
        ...


@runtime_checkable
class Recognizer(Transcriber, Protocol):
    """A transcriber with local weights: it can score and be trained.

    `model` is called for forward passes and may be wrapped for distributed training; `generator` is the same weights
    unwrapped. Blocked tokens are suppressed in rollouts.
    """

    model: nn.Module
    generator: Any

    def freeze_encoder(self, cache_mib: float) -> None:
        """Freeze the audio encoder, and cache its outputs if the family supports it."""
        ...

    def room(self, prompt: Prompt) -> int | None:
        """Return the longest transcript after a prompt, in tokens; None if there is no limit."""
        ...

    def rollout(
        self,
        prompt: Prompt,
        *,
        max_new_tokens: int,
        sample: bool = False,
        temperature: float = 1.0,
        logits_processor: LogitsProcessor | None = None,
    ) -> Transcripts:
        """Generate transcripts, without gradients.

        Args:
            prompt: The inputs.
            max_new_tokens: Longest transcript.
            sample: Draw instead of taking the likeliest token.
            temperature: Of the draw.
            logits_processor: Changes the logits of each token after everything but the temperature; −inf is never
                written.
        """
        ...

    def score(self, prompt: Prompt, transcripts: Transcripts) -> Tensor:
        """Return [batch, length, vocabulary] logits that predict each transcript token, in one forward pass."""
        ...

    def save(self, directory: Path, state_dict: dict[str, Tensor] | None = None) -> None:
        """Save weights and processor, loadable with `from_pretrained`."""
        ...


def refuse_context(name: str, contexts: Sequence[str | None] | None) -> None:
    """Refuse contexts, for models whose prompt has no place for one.

    Raises:
        InputError: There is one.
    """
    for row, context in enumerate(contexts or ()):
        if context is not None:
            raise InputError(row, f'{name} takes no context; remove the field "context", or take Qwen3-ASR')


def refuse_longer(waveforms: Sequence[np.ndarray], window: int, name: str = "") -> None:
    """Refuse audio longer than a model's window of samples; the message has the model's name where it is given."""
    for row, waveform in enumerate(waveforms):
        if len(waveform) > window:
            seconds, most = len(waveform) / SAMPLING_RATE, window / SAMPLING_RATE
            what = f"audio of {seconds:.2f} s, its window is {most:g} s"
            said = f"{what}. Split the utterance; audio is never truncated silently."
            raise InputError(row, f"{name}: {said}" if name else said)


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Disable transformers' own progress bars, which disturb other displays."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def weights_digest(network: nn.Module) -> str:
    """Return the digest of the weights, independent of their name: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for name, weight in network.state_dict().items():
        digest.update(name.encode())
        # Quantized weights wrap plain tensors.
        inner = getattr(weight, "__tensor_flatten__", None)
        parts = [getattr(weight, part) for part in inner()[0]] if inner else [weight]
        for part in parts:
            digest.update(part.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@contextmanager
def without_generation_settings(generator: Any, **kept: Any) -> Iterator[None]:
    """Use evaluation mode without the checkpoint's generation settings until the end of the block.

    With a repetition penalty, for example, samples would not come from the measured distribution.

    Args:
        generator: The model.
        kept: Settings to keep.
    """
    was_training, settings = generator.training, generator.generation_config
    generator.eval()
    generator.generation_config = GenerationConfig(**kept)
    try:
        yield
    finally:
        generator.generation_config = settings
        generator.train(was_training)


def pack(sequences: Sequence[Sequence[int]], end_of_text: int, device: torch.device | str = "cpu") -> Transcripts:
    """Right-pad token sequences that may or may not end in `end_of_text`."""
    length = max((len(sequence) for sequence in sequences), default=0)
    ids = torch.full((len(sequences), length), end_of_text, dtype=torch.long)
    mask = torch.zeros(len(sequences), length, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.as_tensor(sequence, dtype=torch.long)
        mask[row, : len(sequence)] = True
    finished = torch.tensor([len(s) > 0 and s[-1] == end_of_text for s in sequences], dtype=torch.bool)
    return Transcripts(ids.to(device), mask.to(device), finished.to(device))


def cut_at_end(generated: Tensor, end_of_text: int) -> Transcripts:
    """Mask everything after the first end of text in [batch, length] generated ids."""
    is_end = generated == end_of_text
    before = is_end.long().cumsum(-1) - is_end.long()
    mask = before == 0
    length = int(mask.sum(-1).max()) if mask.numel() else 0
    ids = generated.masked_fill(~mask, end_of_text)
    return Transcripts(ids[:, :length], mask[:, :length], is_end.any(-1))
