"""Changes to a student before training: fewer decoder layers, a shorter audio window, gradient checkpointing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from .base import ModelError


def keep_decoder_layers(network: Any, layers: Sequence[int], name: str) -> None:
    """Keep some layers of the text decoder, in this order; the result needs training before it writes meaningful text.

    Args:
        network: A model of transformers whose decoder has `layers`.
        layers: Indices, 0 for the first.
        name: Of the checkpoint, for messages.

    Raises:
        ModelError: There is no such layer, or none is kept.
    """
    decoder, config = network.get_decoder(), network.config
    n = len(decoder.layers)
    if not layers or any(not 0 <= layer < n for layer in layers):
        raise ModelError(f"{name}: keep_decoder_layers = {list(layers)}; its decoder has layers 0 to {n - 1}")
    kept = [decoder.layers[layer] for layer in layers]
    for place, layer in enumerate(kept):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = place  # of its keys and values in the cache
    decoder.layers = nn.ModuleList(kept)
    if hasattr(config, "decoder_layers"):  # encoder and decoder in one configuration
        config.decoder_layers = len(layers)
        return
    config = config.get_text_config()
    config.num_hidden_layers = len(layers)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[layer] for layer in layers]


def shorten_window(network: Any, processor: Any, seconds: int, name: str) -> None:
    """Shorten Whisper's audio window from 30 s, by keeping the first rows of its encoder's position table.

    Args:
        network: The model.
        processor: Its processor.
        seconds: The new window.
        name: Of the checkpoint, for messages.

    Raises:
        ModelError: The encoder has no such table, or the window is not shorter.
    """
    encoder, extractor = network.get_encoder(), processor.feature_extractor
    table = getattr(encoder, "embed_positions", None)
    if table is None or not hasattr(network.config, "max_source_positions"):
        raise ModelError(f"{name}: window_seconds shortens Whisper's window; a {network.config.model_type} has none")
    window = extractor.n_samples // extractor.sampling_rate
    if not seconds < window:
        raise ModelError(f"{name}: window_seconds = {seconds}; its window is {window} s, give less")
    positions = table.num_embeddings * seconds // window
    table.weight = nn.Parameter(table.weight[:positions].clone(), requires_grad=table.weight.requires_grad)
    table.num_embeddings = network.config.max_source_positions = encoder.max_source_positions = positions
    extractor.chunk_length, extractor.n_samples = seconds, seconds * extractor.sampling_rate
    extractor.nb_max_frames = extractor.n_samples // extractor.hop_length


def checkpoint_gradients(network: Any, name: str) -> None:
    """Keep only each layer's inputs in the forward pass and compute the rest again in the backward pass.

    Transformers' own switch works only in training mode, but on-policy steps score in evaluation mode.

    Args:
        network: A model of transformers.
        name: Of the checkpoint, for messages.

    Raises:
        ModelError: Its layers do not support it.
    """
    layers = [module for module in network.modules() if isinstance(module, GradientCheckpointingLayer)]
    # Code in checkpoints may use transformers' switch itself, around its own layers.
    alone = {
        type(module).__name__
        for module in network.modules()
        if hasattr(module, "gradient_checkpointing")
        and not any(isinstance(part, GradientCheckpointingLayer) for part in module.modules())
    }
    if not layers or alone or not network.supports_gradient_checkpointing:
        whose = f" ({', '.join(sorted(alone))})" if alone else ""
        raise ModelError(
            f"{name}: gradient_checkpointing = true, which a {network.config.model_type} model does not support{whose};"
            " remove it and lower micro_batch_size instead"
        )
    for layer in layers:
        layer.forward = partial(_recompute_in_backward, layer.forward)


def _recompute_in_backward(forward: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs, **options)
    # The reentrant variant computes no gradients if its inputs are frozen.
    return checkpoint(forward, *inputs, use_reentrant=False, **options)
