"""SGLang's own protocol: its OpenAI routes return no log-probabilities of prompts, `/generate` does.

The prompt is text with the audio's placeholder, as the local chat template renders it. For each prompt token SGLang
returns (log-probability, id, text) of the best m, and separately of the prompt's own (docs.sglang.io, native API).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from .api import Question, Written, value_at, wav
from .json_client import JsonClient
from .response_values import array, by_id, log_probability, token_id, token_ids, written_text
from .topk_logprobs import Reply, ReplyError

GENERATE = "/generate"
PLAIN = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


@dataclass(frozen=True)
class Sglang:
    """SGLang, with the processor whose chat template renders its prompts."""

    processor: Any
    name: str = "sglang"

    def score(self, client: JsonClient, model: str, question: Question, text: str, n_tokens: int, m: int) -> Reply:
        """See `Api.score`."""
        del model  # /generate serves one
        body = self._body(question, text, {"max_new_tokens": 1, "temperature": 0.0})
        body |= {"return_logprob": True, "logprob_start_len": 0, "top_logprobs_num": m}
        tree = client.post(GENERATE, body, f"utterance {question.name!r}")
        own, best = (value_at(tree, "meta_info", name) for name in ("input_token_logprobs", "input_top_logprobs"))
        after = value_at(tree, "meta_info", "output_top_logprobs", 0)
        complete = isinstance(own, list) and isinstance(best, list) and own and len(own) == len(best)
        if not complete or after is None or len(best) < n_tokens:
            raise ReplyError("no input_top_logprobs of the whole prompt. SGLang returns them; check the api")
        tail = best[len(best) - n_tokens :]
        return Reply([token_id(value_at(item, 1)) for item in own], [_by_id(row) for row in (*tail, after)])

    def write(self, client: JsonClient, model: str, question: Question, max_new_tokens: int, heat: float) -> Written:
        """See `Api.write`."""
        del model
        body = self._body(question, "", {"max_new_tokens": max_new_tokens, "temperature": heat} | PLAIN)
        tree = client.post(GENERATE, body, f"utterance {question.name!r}")
        reason = value_at(tree, "meta_info", "finish_reason", "type")
        if not isinstance(reason, str):
            raise ReplyError("no meta_info with a finish_reason; check the server and its api")
        ids = tree.get("output_ids")
        return Written(written_text(tree.get("text")), None if ids is None else token_ids(ids), reason != "length")

    def _body(self, question: Question, text: str, sampling: dict[str, Any]) -> dict[str, Any]:
        audio = base64.b64encode(wav(question.waveform)).decode()
        prompt = question.conversation.rendered(self.processor, text)
        return {"text": prompt, "audio_data": f"data:audio/wav;base64,{audio}", "sampling_params": sampling}


def _by_id(row: Any) -> dict[int, float] | None:
    if row is None:
        return None
    items = array(row, "(log-probability, id) pairs (input_top_logprobs)")
    return by_id([(token_id(value_at(item, 1)), log_probability(value_at(item, 0))) for item in items])
