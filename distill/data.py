"""Batches of utterances with their audio."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .audio import AudioCache
from .manifest import Utterance
from .models import Prompt, Transcriber


@dataclass(frozen=True)
class Batch:
    """Utterances with their waveforms (mono, 16 kHz, float32)."""

    utterances: tuple[Utterance, ...]
    waveforms: tuple[np.ndarray, ...]
    _prompts: dict[Hashable, Prompt] = field(default_factory=dict, init=False, repr=False, compare=False)

    def prompt(self, recogniser: Transcriber) -> Prompt:
        """The batch as inputs of a recogniser; made once for all recognisers that take the same inputs.

        A step needs it for the rollout and for both models' scores, and features cost as much as a small forward pass.
        """
        key = recogniser.prompt_key
        if key not in self._prompts:
            languages = [utterance.language for utterance in self.utterances]
            prompt = recogniser.prepare(self.waveforms, languages)
            self._prompts[key] = replace(prompt, utterances=tuple(utterance.id for utterance in self.utterances))
        return self._prompts[key]


@dataclass(frozen=True)
class AudioSource:
    """Reads utterances through a bounded cache, since training comes back to each many times."""

    cache: AudioCache

    def batch(self, utterances: Sequence[Utterance]) -> Batch:
        """Load the audio of some utterances."""
        return Batch(tuple(utterances), tuple(self.cache.load(utterance) for utterance in utterances))

    def batches(self, utterances: Sequence[Utterance], batch_size: int) -> Iterator[Batch]:
        """The utterances in order, in batches."""
        for start in range(0, len(utterances), batch_size):
            yield self.batch(utterances[start : start + batch_size])
