"""Rollouts and scores of decoder-only models: the transcript continues the prompt in one sequence."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LogitsProcessor
from transformers.generation import utils as generation_utils

from . import end_tokens
from .base import Prompt, Transcripts, cut_at_end, without_generation_settings
from .vocabulary import Tokens


@torch.no_grad()
def rollout(
    generator: Any,
    prompt: Prompt,
    tokens: Tokens,
    *,
    width: int,
    max_new_tokens: int,
    sample: bool,
    temperature: float,
    logits_processor: LogitsProcessor | None = None,
) -> Transcripts:
    """Return greedy or sampled rollouts without blocked tokens.

    Args:
        generator: The model, unwrapped.
        prompt: Its inputs, `input_ids` left-padded.
        tokens: Its tokens.
        width: Of its logits.
        max_new_tokens: Longest transcript.
        sample: Sample instead of greedy decoding.
        temperature: Of sampling.
        logits_processor: Changes the logits of each token, before the temperature.
    """
    with without_generation_settings(generator):
        generated = generator.generate(
            **prompt.inputs,
            max_new_tokens=max_new_tokens,
            use_cache=accepts_cache(generator),
            do_sample=sample,
            temperature=temperature if sample else None,
            top_k=None,
            top_p=None,
            suppress_tokens=tokens.suppressed(width),
            logits_processor=end_tokens.merging(tokens, logits_processor),
            eos_token_id=tokens.end_of_text,
            pad_token_id=tokens.end_of_text,
        )
    return cut_at_end(generated[:, prompt.inputs["input_ids"].shape[1] :], tokens.end_of_text)


def accepts_cache(generator: Any) -> bool:
    """Return whether the forward pass accepts the KV cache under the name that this version of transformers uses.

    It was `past_key_values` before 5.24 and is `cache` since. A checkpoint's own code may use the other name; then
    every token is computed from the full prefix, slower, with the same result.
    """
    name = next(iter(getattr(generation_utils, "ALL_CACHE_NAMES", ["past_key_values"])))
    parameters = inspect.signature(generator.forward).parameters.values()
    return any(parameter.name == name or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def accepted_inputs(generator: Any) -> frozenset[str]:
    """Return the optional inputs of scoring that the model's forward pass accepts; remote code often lacks some.

    `position_ids` account for padding on the left, which does not affect rotary positions. Without `logits_to_keep`,
    logits of the prompt are computed too.
    """
    parameters = inspect.signature(generator.forward).parameters.values()
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    wanted = frozenset({"position_ids", "logits_to_keep"})
    return wanted if anything else wanted & {parameter.name for parameter in parameters}


def score(model: nn.Module, prompt: Prompt, transcripts: Transcripts, tokens: Tokens, asked: frozenset[str]) -> Tensor:
    """Return [batch, length, tokens] logits; position t predicts transcript token t.

    Args:
        model: The model, perhaps wrapped.
        prompt: Its inputs, `input_ids` left-padded.
        transcripts: Right-padded.
        tokens: Its tokens.
        asked: What it takes, by `accepted_inputs`.
    """
    transcripts = transcripts.to(tokens.blocked.device)
    length = transcripts.ids.shape[1]
    if length == 0:
        return torch.empty(prompt.batch_size, 0, tokens.size, device=tokens.blocked.device)
    attention = torch.cat([prompt.inputs["attention_mask"], transcripts.mask.long()], dim=1)
    wishes = {"position_ids": (attention.cumsum(-1) - 1).clamp(min=0), "logits_to_keep": length + 1}
    output = model(
        **{**prompt.inputs, "input_ids": torch.cat([prompt.inputs["input_ids"], transcripts.ids], dim=1)}
        | {"attention_mask": attention},
        **{name: wish for name, wish in wishes.items() if name in asked},
        use_cache=False,
    )
    return tokens.merged(output.logits[:, -length - 1 : -1, : tokens.size])
