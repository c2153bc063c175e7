"""The OpenAI protocol as vLLM extends it: chat completions with audio, `prompt_logprobs` and token ids.

The transcript is the beginning of the assistant's message, which the server continues. Its tokens are at the end of the
prompt; the token after it is the first generated one. For each prompt token vLLM returns the m best by id, and the
prompt's own token if it is not among them (vllm/entrypoints/openai/chat_completion/protocol.py; its limit is
`--max-logprobs`, 20 unless set).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .api import Question, Written, value_at, wav
from .json_client import JsonClient
from .response_values import array, by_id, log_probability, mapping, token_id, token_ids, written_text
from .topk_logprobs import Reply, ReplyError

CHAT = "/v1/chat/completions"
PLAIN = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
"""No truncation and no penalty, whatever the served model's generation settings say."""


@dataclass(frozen=True)
class Vllm:
    """vLLM and compatible servers."""

    name: str = "vllm"

    def score(self, client: JsonClient, model: str, question: Question, text: str, n_tokens: int, m: int) -> Reply:
        """See `Api.score`."""
        body = _body(model, question, text) | {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": m}
        body |= {"logprobs": True, "top_logprobs": m, "return_tokens_as_token_ids": True}
        tree = client.post(CHAT, body, f"utterance {question.name!r}")
        entries = tree.get("prompt_logprobs")
        if not isinstance(entries, list) or len(entries) <= n_tokens:
            raise ReplyError("no prompt_logprobs of the whole prompt; check the server and its api")
        ids = tree.get("prompt_token_ids")
        if ids is None:  # older than return_token_ids: the prompt's own token stands first in its entry
            ids = [next(iter(mapping(entry, "a position"))) if entry else None for entry in entries]
        tail = entries[len(entries) - n_tokens :]
        rows = [*(_by_id(entry) for entry in tail), _generated(tree)]
        return Reply([None if i is None else token_id(i) for i in array(ids, "token ids")], rows)

    def write(self, client: JsonClient, model: str, question: Question, max_new_tokens: int, heat: float) -> Written:
        """See `Api.write`."""
        body = _body(model, question, "") | {"max_tokens": max_new_tokens, "temperature": heat} | PLAIN
        tree = client.post(CHAT, body, f"utterance {question.name!r}")
        text, reason = value_at(tree, "choices", 0, "message", "content"), value_at(tree, "choices", 0, "finish_reason")
        if not isinstance(reason, str):
            raise ReplyError("no choice with a message and a finish_reason; check the server and its api")
        ids = value_at(tree, "choices", 0, "token_ids")
        return Written(written_text(text), None if ids is None else token_ids(ids), reason != "length")


def _body(model: str, question: Question, text: str) -> dict[str, Any]:
    audio = {"data": base64.b64encode(wav(question.waveform)).decode(), "format": "wav"}
    parts = [
        {"type": "input_audio", "input_audio": audio} if part["type"] == "audio" else dict(part)
        for part in question.conversation.parts
    ]
    messages: list[dict[str, Any]] = [{"role": "user", "content": parts}]
    if question.conversation.context is not None:
        messages.insert(0, {"role": "system", "content": question.conversation.context})
    answer = question.conversation.prefill + text
    if answer:
        messages.append({"role": "assistant", "content": answer})
    return {
        "model": model,
        "messages": messages,
        "add_generation_prompt": not answer,
        "continue_final_message": bool(answer),
        "return_token_ids": True,
    }


def _by_id(entry: Any) -> dict[int, float] | None:
    if entry is None:
        return None
    rows = mapping(entry, "an object of log-probabilities by token id (prompt_logprobs)").items()
    return by_id([(token_id(token), log_probability(value_at(item, "logprob"))) for token, item in rows])


def _generated(tree: Mapping[str, Any]) -> dict[int, float]:
    """Return the distribution after the transcript: that of the generated token."""
    best = value_at(tree, "choices", 0, "logprobs", "content", 0, "top_logprobs")
    named = [(value_at(item, "token"), value_at(item, "logprob")) for item in best] if isinstance(best, list) else []
    if not named or not all(isinstance(name, str) and name.startswith("token_id:") for name, _ in named):
        raise ReplyError(
            "no log-probabilities by token id after the transcript (logprobs, return_tokens_as_token_ids); update the "
            "server, or check the api"
        )
    return by_id([(token_id(name.removeprefix("token_id:")), log_probability(logprob)) for name, logprob in named])
