"""Requests to a server, for any protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Protocol

import numpy as np
import scipy.io.wavfile

from ..models.speech_lm import SAMPLING_RATE
from .conversation import Conversation
from .json_client import JsonClient
from .topk_logprobs import Reply


@dataclass(frozen=True, eq=False)
class Question:
    """An utterance to transcribe or score.

    Attributes:
        name: The utterance's id, for messages.
        waveform: Mono, 16 kHz, float32.
        conversation: The messages before the transcript.
    """

    name: str
    waveform: np.ndarray
    conversation: Conversation


@dataclass(frozen=True)
class Written:
    """A transcript by the server.

    Attributes:
        text: Its text without control tokens.
        ids: Its tokens, None if the server does not return them.
        finished: Whether it ended by itself.
    """

    text: str
    ids: list[int] | None
    finished: bool


class Api(Protocol):
    """A server's protocol."""

    @property
    def name(self) -> str:
        """Its name in recipes."""
        ...

    def score(self, client: JsonClient, model: str, question: Question, text: str, n_tokens: int, m: int) -> Reply:
        """Return its top-m log-probabilities at each of the text's tokens, and after them.

        Args:
            client: To ask with.
            model: The served name.
            question: The utterance.
            text: The transcript.
            n_tokens: Number of tokens of the transcript.
            m: Number of log-probabilities at each position.

        Raises:
            ServerError: There was no answer.
            ReplyError: It was not in the protocol's form.
        """
        ...

    def write(self, client: JsonClient, model: str, question: Question, max_new_tokens: int, heat: float) -> Written:
        """Return its own transcript.

        Args:
            client: To ask with.
            model: The served name.
            question: The utterance.
            max_new_tokens: Longest transcript.
            heat: Temperature; 0 is greedy.

        Raises:
            ServerError: There was no answer.
            ReplyError: It was not in the protocol's form.
        """
        ...


def wav(waveform: np.ndarray) -> bytes:
    """Return a WAV file of float32 samples, the same as for a local model."""
    buffer = BytesIO()
    scipy.io.wavfile.write(buffer, SAMPLING_RATE, waveform.astype(np.float32))
    return buffer.getvalue()


def value_at(tree: Mapping[str, Any], *path: str | int) -> Any:
    """Return a value deep in a JSON tree; None if its path does not exist."""
    node: Any = tree
    for key in path:
        try:
            node = node[key]
        except (KeyError, IndexError, TypeError):
            return None
    return node
