"""What every recognizer family offers the trainer, and the two batches that pass between them."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from transformers import GenerationConfig
from transformers.utils import logging as transformers_logging

from overlap.errors import UserError

from .vocabulary import Tokens


class ModelError(UserError):
    """A checkpoint that cannot serve; the message names it and the remedy."""


class InputError(ModelError):
    """An utterance that a model cannot take; whoever knows the batch puts the utterance's name before the message.

    Attributes:
        row: Which of the batch it is.
    """

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


@dataclass(frozen=True)
class Transcripts:
    """A batch of token sequences in one recognizer's vocabulary, right-padded, with end of text where it was written.

    Attributes:
        ids: [batch, length] token ids, padding filled with the end-of-text id.
        mask: [batch, length] bool, True at real positions.
        finished: [batch] bool, True where the sequence ends in end of text.
        is_encoded: Whether some of the ids were encoded from a text, because who wrote it did not say in which tokens.
    """

    ids: Tensor
    mask: Tensor
    finished: Tensor
    is_encoded: bool = False

    def to(self, device: torch.device) -> Transcripts:
        """The same transcripts on a device."""
        return Transcripts(self.ids.to(device), self.mask.to(device), self.finished.to(device), self.is_encoded)

    @property
    def lengths(self) -> Tensor:
        """[batch] text tokens, end of text not counted."""
        return self.mask.sum(-1) - self.finished.long()

    @property
    def text_ids(self) -> list[list[int]]:
        """The tokens of each text, end of text not among them."""
        return [row[:n].tolist() for row, n in zip(self.ids, self.lengths.tolist(), strict=True)]


@dataclass(frozen=True)
class Prompt:
    """Model inputs of a batch of utterances, everything before the first transcript token, left-padded.

    Attributes:
        inputs: Tensors by name.
        utterances: Ids of the utterances where they are known, for messages.
    """

    inputs: dict[str, Tensor]
    utterances: tuple[str, ...] = ()

    @property
    def batch_size(self) -> int:
        """Number of utterances."""
        return next(iter(self.inputs.values())).shape[0]


@dataclass(frozen=True)
class Limits:
    """What a model can take.

    Attributes:
        window_seconds: Longest audio; None where there is no limit of its own.
        label_tokens: Tokens of the longest transcript that it can score, end of text among them, and with it those that
            `Transcriber.prompt_tokens` counts; None where there is no limit.
    """

    window_seconds: float | None = None
    label_tokens: int | None = None


class Transcriber(Protocol):
    """What writes transcripts, wherever its weights are: prepare, rollout, encode, decode.

    `reads` says which of an utterance's fields is its input; a text model is one that reads prompts.

    `text_prefix` is what it writes before each text and `decode` takes away, such as a space. Blocked tokens are left
    out of every top-k set on both sides. Transcribers with the same `prompt_key` prepare the same inputs, on the same
    device and of the same type.
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
        """What the inputs depend on."""
        ...

    @property
    def takes_context(self) -> bool:
        """Whether its prompt has a place for an utterance's context."""
        ...

    @property
    def names_language(self) -> bool:
        """Whether it names the language itself where nobody else does, so that such a prompt is its own."""
        ...

    def prepare(
        self,
        inputs: Sequence[Any],
        languages: Sequence[str | None],
        contexts: Sequence[str | None] | None = None,
    ) -> Prompt:
        """Model inputs for what it reads: mono waveforms at 16 kHz, or text prompts (`manifest.Utterance.prompt`).

        The language is named in the prompt where the family has a place for it: by the model where it is not known.

        Args:
            inputs: Of each utterance.
            languages: By name or code; None where it is not known.
            contexts: What an utterance may be about, such as names; None where nothing is said. A model without a place
                for it refuses it.

        Raises:
            InputError: An utterance that it cannot take.
        """
        ...

    @property
    def limits(self) -> Limits:
        """What it can take."""
        ...

    def check_languages(self, languages: Sequence[str | None]) -> None:
        """Refuse languages that the prompts of one batch cannot name.

        Raises:
            ModelError: Says which.
        """
        ...

    def prompt_tokens(self, read: Any, language: str | None, context: str | None) -> int:
        """Tokens of a prompt that share `limits.label_tokens` with the text behind it; the weights are not asked.

        Args:
            read: A waveform, or a text prompt.
            language: By name or code; None where it is not known.
            context: What the utterance may be about; None where nothing is said.

        Raises:
            ModelError: A prompt that cannot be made.
        """
        ...

    def prompt_text(self, prompt: Prompt, row: int) -> str:
        """What the model reads before the first transcript token, markers written out, audio shortened."""
        ...

    def encode(self, texts: Sequence[str]) -> Transcripts:
        """Transcripts as tokens, each closed by end of text."""
        ...

    def rollout(
        self, prompt: Prompt, *, max_new_tokens: int, sample: bool = False, temperature: float = 1.0
    ) -> Transcripts:
        """Let the model write, without gradients."""
        ...

    def decode(self, transcripts: Transcripts) -> list[str]:
        """Texts, without control tokens."""
        ...


@runtime_checkable
class Recognizer(Transcriber, Protocol):
    """A transcriber whose weights are here: it scores and learns.

    `model` is called for forward passes and may be wrapped for distributed training; `generator` is the same weights
    unwrapped. Blocked tokens are suppressed in rollouts.
    """

    model: nn.Module
    generator: Any

    def freeze_encoder(self, cache_mib: float) -> None:
        """Leave the audio encoder as it is, and keep what it makes of utterances where the family can."""
        ...

    def score(self, prompt: Prompt, transcripts: Transcripts) -> Tensor:
        """[batch, length, vocabulary] logits that predict each transcript token, in one forward pass."""
        ...

    def save(self, directory: Path, state_dict: dict[str, Tensor] | None = None) -> None:
        """Weights and processor, loadable with `from_pretrained`."""
        ...


def refuse_context(name: str, contexts: Sequence[str | None] | None) -> None:
    """For models whose prompt has no place for a context.

    Raises:
        InputError: There is one.
    """
    for row, context in enumerate(contexts or ()):
        if context is not None:
            raise InputError(row, f'{name} takes no context; remove the field "context", or take Qwen3-ASR')


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' own progress bars, which break every other display."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def weights_digest(network: nn.Module) -> str:
    """Digest of the weights, independent of their name: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for name, weight in network.state_dict().items():
        digest.update(name.encode())
        # Quantized weights are wrapped around plain tensors.
        inner = getattr(weight, "__tensor_flatten__", None)
        parts = [getattr(weight, part) for part in inner()[0]] if inner else [weight]
        for part in parts:
            digest.update(part.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@contextmanager
def unsettled(generator: Any, **kept: Any) -> Iterator[None]:
    """In evaluation mode, and without the checkpoint's own generation settings, until the end of the block.

    A repetition penalty or the like would draw from another distribution than the one that is measured.

    Args:
        generator: The model.
        kept: Settings that there are all the same.
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
