"""Batches of utterances with their audio."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..models import InputError, ModelError, Prompt, Transcriber
from ..models.languages import spoken
from .audio import AudioCache, duration
from .manifest import Utterance, refuse_context, require_input


@dataclass(frozen=True)
class Batch:
    """Utterances with their waveforms (mono, 16 kHz, float32; None where there is no audio)."""

    utterances: tuple[Utterance, ...]
    waveforms: tuple[np.ndarray | None, ...]
    _prompts: dict[Hashable, Prompt] = field(default_factory=dict, init=False, repr=False, compare=False)

    def prompt(self, recognizer: Transcriber) -> Prompt:
        """Return the batch as inputs of a recognizer; computed once for all recognizers with the same inputs.

        A step needs it for the rollout and for both models' scores, and features cost as much as a small forward pass.

        Raises:
            ManifestError: An utterance without the field that the recognizer reads.
            ModelError: An utterance that it cannot take.
        """
        key, languages = recognizer.prompt_key, [spoken(utterance.language) for utterance in self.utterances]
        if recognizer.names_language and None in languages:
            key = key, id(recognizer)  # a language that one model detects must not be used for the other
        if key not in self._prompts:
            check_inputs(self.utterances, recognizer)
            read: Sequence[Any] = self.waveforms
            if recognizer.reads == "prompt":
                read = [utterance.prompt for utterance in self.utterances]
            contexts = [utterance.context for utterance in self.utterances]
            try:
                prompt = recognizer.prepare(read, languages, contexts)
            except InputError as error:
                raise ModelError(f"utterance {self.utterances[error.row].id!r}: {error}") from error
            self._prompts[key] = replace(prompt, utterances=tuple(utterance.id for utterance in self.utterances))
        return self._prompts[key]


@dataclass(frozen=True)
class AudioSource:
    """Reads utterances through a bounded cache, because training uses each many times."""

    cache: AudioCache

    def batch(self, utterances: Sequence[Utterance]) -> Batch:
        """Load the audio of some utterances, if they have any."""
        waveforms = (None if utterance.audio is None else self.cache.load(utterance) for utterance in utterances)
        return Batch(tuple(utterances), tuple(waveforms))

    def batches(self, utterances: Sequence[Utterance], batch_size: int) -> Iterator[Batch]:
        """Yield the utterances in order, in batches."""
        for start in range(0, len(utterances), batch_size):
            yield self.batch(utterances[start : start + batch_size])


def check_inputs(utterances: Sequence[Utterance], *recognizers: Transcriber) -> None:
    """Refuse utterances that one of the recognizers cannot read, or whose context it has no place for.

    Raises:
        ManifestError: Names the recognizer, the first such utterances and how many there are.
    """
    for recognizer in recognizers:
        name = f"{recognizer.name!r} ({recognizer.family})"
        require_input(utterances, recognizer.reads, name)
        if not recognizer.takes_context:
            refuse_context(utterances, name)


def length(utterance: Utterance) -> float:
    """Return the length of an utterance relative to others of its manifest: seconds of audio, or characters of prompt
    and text."""
    if utterance.audio is not None:
        return duration(utterance)
    prompt, text = utterance.prompt or "", utterance.text or ""
    return len(text) + (len(prompt) if isinstance(prompt, str) else sum(len(turn["content"]) for turn in prompt))


def length_unit(utterance: Utterance) -> str:
    """Return the unit of `length`."""
    return "characters" if utterance.audio is None else "s"
