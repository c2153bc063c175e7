"""Size of a model from its configuration, without reading weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig

from ..locations import located
from .base import ModelError, without_progress_bars
from .load import FAMILIES, adapter_of


@dataclass(frozen=True)
class Shape:
    """Sizes from a model's configuration.

    Attributes:
        family: Name of its adapter, such as `whisper`.
        parameters: Number of parameters.
        vocabulary: Tokens of its output.
        hidden: Width of its text side.
        layers: Of its text side.
    """

    family: str
    parameters: int
    vocabulary: int
    hidden: int
    layers: int

    @classmethod
    def from_network(cls, family: str, network: Any) -> Shape:
        """Return the shape of a model, with or without its weights in memory.

        Args:
            family: Name of its adapter.
            network: Of transformers.
        """
        text = network.config.get_text_config(decoder=True)
        return cls(family, network.num_parameters(), text.vocab_size, text.hidden_size, text.num_hidden_layers)


def shape_of(model: str, *, trust_remote_code: bool = False) -> Shape:
    """Return the shape of a checkpoint.

    Args:
        model: Directory, `demo:teacher` or `demo:student`, or Hub name.
        trust_remote_code: Run Python code of the checkpoint.

    Raises:
        ModelError: No configuration there, or a family without an adapter.
        FileNotFoundError: The embedded demo has no such model.
    """
    try:
        config = AutoConfig.from_pretrained(located(model), trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"cannot read the configuration of {model!r}: {reason} Give a directory or a Hub name"
        ) from error
    family = adapter_of(model, config)
    with torch.device("meta"), without_progress_bars():
        network = FAMILIES[family].architecture.from_config(config, trust_remote_code=trust_remote_code)
    return Shape.from_network(family, network)
