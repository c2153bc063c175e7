"""Rollouts and scores of encoder-decoder models: the transcript continues the decoder's prompt."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin
from transformers.modeling_outputs import BaseModelOutput

from .base import Prompt, Transcripts, cut_at_end
from .vocabulary import Tokens

DECODER_PROMPT = "decoder_input_ids"
ENCODED = "encoder_outputs"
"""Input that holds the encoder's last hidden states where they were computed beforehand."""


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

    Generation is that of transformers for any encoder-decoder, not a family's own: Whisper's adds rules of its own at
    the first position, and a rollout must be drawn from the distribution that is measured.

    Args:
        generator: The model, unwrapped.
        prompt: Its inputs, among them the decoder's prompt, of one length in all rows.
        tokens: Its tokens.
        width: Of its logits.
        max_new_tokens: Longest transcript.
        sample: Draw from the distribution instead of taking the likeliest.
        temperature: Of the draw.
    """
    was_training = generator.training
    generator.eval()
    before = prompt.inputs[DECODER_PROMPT]
    inputs = _inputs(prompt)
    # Nothing is padding, which generation would otherwise look for and warn that it cannot tell.
    inputs["attention_mask"] = torch.ones_like(before)
    generated = GenerationMixin.generate(  # pyright: ignore[reportAttributeAccessIssue]: typed for whole models only
        generator,
        **inputs,
        max_length=before.shape[1] + max_new_tokens,
        do_sample=sample,
        temperature=temperature if sample else None,
        top_k=None,
        top_p=None,
        num_beams=1,
        suppress_tokens=tokens.suppressed(width),
        begin_suppress_tokens=[],
        eos_token_id=tokens.end_of_text,
        pad_token_id=tokens.end_of_text,
    )
    generator.train(was_training)
    return cut_at_end(generated[:, before.shape[1] :], tokens.end_of_text)


def score(model: nn.Module, prompt: Prompt, transcripts: Transcripts, tokens: Tokens) -> Tensor:
    """[batch, length, tokens] logits; position t predicts transcript token t."""
    before = prompt.inputs[DECODER_PROMPT]
    if transcripts.ids.shape[1] == 0:
        return torch.empty(prompt.batch_size, 0, tokens.size, device=tokens.blocked.device)
    # The decoder is causal and transcripts are padded on the right, so what follows a row's end changes nothing in it.
    written = torch.cat([before, transcripts.ids[:, :-1]], dim=1)
    output = model(**_inputs(prompt) | {DECODER_PROMPT: written}, use_cache=False)
    return output.logits[:, before.shape[1] - 1 :, : tokens.size]


def _inputs(prompt: Prompt) -> dict[str, Any]:
    inputs: dict[str, Any] = dict(prompt.inputs)
    if ENCODED in inputs:
        inputs[ENCODED] = BaseModelOutput(last_hidden_state=inputs[ENCODED])
    return inputs
