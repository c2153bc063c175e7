"""The transcription request as chat messages, from which a server renders the prompt.

The user's message depends on the family. The assistant's message begins with the rest of the local processor's prompt,
so that server and local engine have the same prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from ..models.base import ModelError
from ..models.speech_lm import SAMPLING_RATE, SpeechLM

AUDIO = {"type": "audio"}
"""Placeholder of the audio in the user's message."""

REQUESTS: dict[str, Callable[[Any], tuple[dict[str, str], ...]]] = {
    "glmasr": lambda processor: (AUDIO, {"type": "text", "text": processor.default_transcription_prompt}),
    "qwen3_asr": lambda processor: (AUDIO,),
}
"""By `model_type`: the parts of the user's message, from the processor."""


@dataclass(frozen=True)
class Conversation:
    """The messages before the transcript.

    Attributes:
        parts: The user's message, text parts and `AUDIO`.
        prefill: Beginning of the assistant's message.
        context: The system's message; None for none.
    """

    parts: tuple[dict[str, str], ...]
    prefill: str = ""
    context: str | None = None

    def rendered(self, processor: Any, text: str) -> str:
        """Return prompt and transcript as the chat template writes them, the audio's placeholder not expanded."""
        messages: list[dict[str, Any]] = [{"role": "user", "content": [dict(part) for part in self.parts]}]
        if self.context is not None:
            messages.insert(0, {"role": "system", "content": [{"type": "text", "text": self.context}]})
        if not self.prefill + text:  # there is no answer to continue yet
            return processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        messages.append({"role": "assistant", "content": [{"type": "text", "text": self.prefill + text}]})
        return processor.apply_chat_template(messages, tokenize=False, continue_final_message=True)


def conversation(reader: SpeechLM, language: str | None, context: str | None = None) -> Conversation:
    """Return the conversation with the same prompt as the local processor's.

    Args:
        reader: The family's adapter, which needs no weights for this.
        language: The utterance's, by name or code, or None.
        context: The utterance's, or None.

    Raises:
        ModelError: The processor's request is not this conversation.
    """
    asked = Conversation(REQUESTS[reader.family](reader.processor))
    prompt = reader.request([np.zeros(SAMPLING_RATE // 2, dtype=np.float32)], [language])
    placeholder = reader.tokenizer.convert_tokens_to_ids(reader.processor.audio_token)
    runs = groupby(prompt.inputs["input_ids"][0].tolist())
    ids = [token for token, run in runs for token in ([token] if token == placeholder else run)]
    prompt, start = reader.tokenizer.decode(ids, skip_special_tokens=False), asked.rendered(reader.processor, "")
    if not prompt.startswith(start):
        raise ModelError(
            f"{reader.name}: its processor asks for a transcript with {prompt!r}, its chat template with {start!r}. "
            "A server renders the chat template; use a local teacher, or a checkpoint whose template fits."
        )
    return replace(asked, prefill=prompt[len(start) :], context=context)
