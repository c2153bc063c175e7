"""Parameter groups: weight decay applies to matrices, not to norms, biases or embeddings."""

from __future__ import annotations

import re
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

_NORM = re.compile(r"norm(\dd|fp32)?$", re.IGNORECASE)  # models bring classes of their own, such as Qwen3RMSNorm
_WITHOUT = re.compile(r"bias|embed", re.IGNORECASE)  # matrices by shape: biases a head, positions without a module


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return groups of a model's trained parameters for an optimizer: with and without weight decay.

    Decay pulls weights to zero, which is wrong for a norm's scale or a rare token's embedding. There is no decay for
    parameters of fewer than two dimensions, of modules that are norms by their type, and of embeddings; an output layer
    that shares an embedding's weight is that embedding. LoRA factors are matrices and decay.

    Args:
        model: Unsharded, or in shards with the same names and dimensions.
        weight_decay: Weight decay of the first group.

    Returns:
        At most two groups, each `{"params": [...], "weight_decay": ...}` in the order of `model.parameters()`; a group
        without parameters is left out.
    """
    spared = {
        id(parameter)
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.ndim < 2 or _is_norm(module) or _is_embedding(module) or _WITHOUT.search(name)
    }
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [parameter for parameter in trained if id(parameter) not in spared], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if id(parameter) in spared], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _is_embedding(module: nn.Module) -> bool:
    return isinstance(module, nn.Embedding | nn.EmbeddingBag)


def _is_norm(module: nn.Module) -> bool:
    known = isinstance(module, nn.LayerNorm | nn.RMSNorm | nn.GroupNorm | _NormBase)
    return known or bool(_NORM.search(type(module).__name__))
