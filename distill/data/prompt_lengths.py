"""Lengths of prompts, which share the context with transcripts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..models import Transcriber
from ..models.languages import spoken
from ..models.speech_lm import SAMPLING_RATE
from .audio import AudioError, duration
from .utterance import Utterance

_SILENCE = SAMPLING_RATE // 10


class PromptLengths:
    """Numbers of prompt tokens including audio, counted on silence of the same length.

    The number of audio positions does not depend on the content. A set is counted at its longest audio first, and one
    by one only if that would not leave enough room.
    """

    def __init__(self, model: Transcriber, utterances: Sequence[Utterance]) -> None:
        """Start with nothing counted.

        Args:
            model: The model of the prompts.
            utterances: The set; those without readable audio are not counted.
        """
        self._model = model
        self._samples = {} if model.reads == "prompt" else {u.id: n for u in utterances if (n := _samples(u))}
        self._longest = max(self._samples.values(), default=0)
        self._bare: dict[tuple[str | None, str | None], int] = {}
        self._of_audio: dict[int, int] = {}

    def __call__(self, utterance: Utterance, text: int = 1) -> int:
        """Number of tokens before an utterance's text: a lower bound, exact if the text might not fit.

        Args:
            utterance: One of the set.
            text: Tokens of its text.

        Raises:
            ModelError: A prompt that cannot be made.
        """
        language = spoken(utterance.language)
        if self._model.reads == "prompt":
            prompt = utterance.prompt
            return 0 if prompt is None else self._model.prompt_tokens(prompt, language, utterance.context)
        asked = language, utterance.context
        if asked not in self._bare:
            self._bare[asked] = self._model.prompt_tokens(np.zeros(_SILENCE, np.float32), *asked)
        bare, room, samples = self._bare[asked], self._model.limits.label_tokens, self._samples.get(utterance.id)
        if room is None or samples is None or bare + self._additional_audio_tokens(self._longest) + text <= room:
            return bare
        return bare + self._additional_audio_tokens(samples)

    def _additional_audio_tokens(self, samples: int) -> int:
        """Return tokens of audio beyond those of the silence with which prompts are first counted."""
        if samples not in self._of_audio:
            of_both = [self._model.prompt_tokens(np.zeros(n, np.float32), None, None) for n in (_SILENCE, samples)]
            self._of_audio[samples] = of_both[1] - of_both[0]
        return self._of_audio[samples]


def _samples(utterance: Utterance) -> int | None:
    """Return the number of samples for a model; None without audio, or if it cannot be read, which is reported
    separately."""
    try:
        seconds = duration(utterance)
    except AudioError:
        return None
    return round(seconds * SAMPLING_RATE) if utterance.audio is not None else None
