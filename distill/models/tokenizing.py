"""Checks that a tokenizer is complete and fits its model."""

from __future__ import annotations

from typing import Any

from .base import ModelError


def check_vocabulary(model: str, tokenizer: Any) -> None:
    """Refuse a tokenizer without its vocabulary; some kinds load without their files.

    Raises:
        ModelError: It has only added tokens.
    """
    added = tokenizer.added_tokens_decoder
    if len(tokenizer.get_vocab()) <= len(added):
        raise ModelError(
            f"{model!r}: its tokenizer has no vocabulary, only {len(added)} added tokens; tokenizer.json (or "
            "vocab.json with merges.txt, or tokenizer.model) is missing: copy it from the model that it was made from"
        )


def check_tokenizer(model: str, tokenizer: Any, network: Any) -> None:
    """Refuse a tokenizer without its vocabulary, or with tokens that the model cannot write.

    Control tokens beyond the model's logits are accepted: they are never written, and some published checkpoints have
    them.

    Args:
        model: Name of the checkpoint, for messages.
        tokenizer: Its tokenizer.
        network: Its weights.

    Raises:
        ModelError: It is such a tokenizer.
    """
    check_vocabulary(model, tokenizer)
    ids, added = tokenizer.get_vocab(), tokenizer.added_tokens_decoder
    head = network.get_output_embeddings()
    if head is None:
        return
    width = head.weight.shape[0]
    outside = sorted((i, token) for token, i in ids.items() if i >= width and not (i in added and added[i].special))
    if outside:
        first, token = outside[0]
        raise ModelError(
            f"{model!r}: its tokenizer has {len(outside)} tokens that its output layer of {width} rows cannot write, "
            f"such as {token!r} (id {first}); give it the tokenizer that it was trained with, or call "
            "resize_token_embeddings after adding tokens, train, and save both"
        )
