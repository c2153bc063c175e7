"""Rollouts and scores of decoder-only models: the transcript continues the prompt in one sequence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig

from .base import Prompt, Transcripts, cut_at_end
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
) -> Transcripts:
    """Greedy or sampled transcripts without blocked tokens.

    Args:
        generator: The model, unwrapped.
        prompt: Its inputs, `input_ids` left-padded.
        tokens: Its tokens.
        width: Of its logits.
        max_new_tokens: Longest transcript.
        sample: Draw from the distribution instead of taking the likeliest.
        temperature: Of the draw.
    """
    with _unsettled(generator):
        generated = generator.generate(
            **prompt.inputs,
            max_new_tokens=max_new_tokens,
            do_sample=sample,
            temperature=temperature if sample else None,
            top_k=None,
            top_p=None,
            suppress_tokens=tokens.suppressed(width),
            eos_token_id=tokens.end_of_text,
            pad_token_id=tokens.end_of_text,
        )
    return cut_at_end(generated[:, prompt.inputs["input_ids"].shape[1] :], tokens.end_of_text)


@contextmanager
def _unsettled(generator: Any) -> Iterator[None]:
    """In evaluation mode and without the checkpoint's own generation settings, until the end of the block.

    A repetition penalty or the like would draw from another distribution than the one that is measured.
    """
    was_training, settings = generator.training, generator.generation_config
    generator.eval()
    generator.generation_config = GenerationConfig()
    try:
        yield
    finally:
        generator.generation_config = settings
        generator.train(was_training)


def score(model: nn.Module, prompt: Prompt, transcripts: Transcripts, tokens: Tokens) -> Tensor:
    """[batch, length, tokens] logits; position t predicts transcript token t."""
    length = transcripts.ids.shape[1]
    if length == 0:
        return torch.empty(prompt.batch_size, 0, tokens.size, device=tokens.blocked.device)
    attention = torch.cat([prompt.inputs["attention_mask"], transcripts.mask.long()], dim=1)
    output = model(
        **{**prompt.inputs, "input_ids": torch.cat([prompt.inputs["input_ids"], transcripts.ids], dim=1)}
        | {"attention_mask": attention, "position_ids": (attention.cumsum(-1) - 1).clamp(min=0)},
        logits_to_keep=length + 1,
        use_cache=False,
    )
    return output.logits[:, -length - 1 : -1, : tokens.size]
