"""Rollouts and scores of encoder-decoder models: the transcript continues the decoder's prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationMixin, LogitsProcessor
from transformers.modeling_outputs import BaseModelOutput

from . import end_tokens
from .base import Prompt, Transcripts, cut_at_end, without_generation_settings
from .vocabulary import Tokens

DECODER_PROMPT = "decoder_input_ids"
ENCODED = "encoder_outputs"
"""Input with the encoder's last hidden states, if they are already computed."""
ENCODED_MASK = "encoder_mask"
"""Mask of hidden states that are not padding, if utterances have different numbers of frames."""


@dataclass
class EncoderOutput(BaseModelOutput):
    """Last hidden states, and a mask of those that are not padding."""

    attention_mask: Tensor | None = None


def encoded(rows: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return inputs from [frames, hidden] states of each utterance, padded on the right."""
    mask = pad_sequence([torch.ones(len(row), dtype=torch.int, device=row.device) for row in rows], batch_first=True)
    return {ENCODED: pad_sequence(list(rows), batch_first=True), ENCODED_MASK: mask}


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

    Uses transformers' generic generation for encoder-decoders: Whisper's own adds rules at the first position, but a
    rollout must come from the distribution that is measured.

    Args:
        generator: The model, unwrapped.
        prompt: Its inputs, including the decoder's prompt, which has the same length in all rows.
        tokens: Its tokens.
        width: Of its logits.
        max_new_tokens: Longest transcript.
        sample: Sample instead of greedy decoding.
        temperature: Of sampling.
        logits_processor: Changes the logits of each token, before the temperature.
    """
    before = prompt.inputs[DECODER_PROMPT]
    inputs = _inputs(prompt)
    # Nothing is padding; without a mask, generation would warn that it cannot determine padding.
    inputs["attention_mask"] = torch.ones_like(before)
    with without_generation_settings(generator, decoder_start_token_id=int(before[0, 0])):
        generated = GenerationMixin.generate(  # pyright: ignore[reportAttributeAccessIssue]: typed for whole models
            generator,
            **inputs,
            max_length=before.shape[1] + max_new_tokens,
            do_sample=sample,
            temperature=temperature if sample else None,
            top_k=None,
            top_p=None,
            suppress_tokens=tokens.suppressed(width),
            logits_processor=end_tokens.merging(tokens, logits_processor),
            eos_token_id=tokens.end_of_text,
            pad_token_id=tokens.end_of_text,
        )
    return cut_at_end(generated[:, before.shape[1] :], tokens.end_of_text)


def score(model: nn.Module, prompt: Prompt, transcripts: Transcripts, tokens: Tokens) -> Tensor:
    """Return [batch, length, tokens] logits; position t predicts transcript token t."""
    before = prompt.inputs[DECODER_PROMPT]
    transcripts = transcripts.to(before.device)
    if transcripts.ids.shape[1] == 0:
        return torch.empty(prompt.batch_size, 0, tokens.size, device=tokens.blocked.device)
    # The decoder is causal and transcripts are padded on the right, so padding does not change a row's scores.
    written = torch.cat([before, transcripts.ids[:, :-1]], dim=1)
    output = model(**_inputs(prompt) | {DECODER_PROMPT: written}, use_cache=False)
    return tokens.merged(output.logits[:, before.shape[1] - 1 :, : tokens.size])


def _inputs(prompt: Prompt) -> dict[str, Any]:
    inputs: dict[str, Any] = dict(prompt.inputs)
    if ENCODED in inputs:
        inputs[ENCODED] = EncoderOutput(inputs[ENCODED], attention_mask=inputs.pop(ENCODED_MASK, None))
    return inputs
