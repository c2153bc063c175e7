"""Low-rank adapters of a student, as recipes write them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from .section import Positive, Section


class Lora(Section):
    """Train low-rank changes of linear layers and keep the weights unchanged (Hu et al. 2021, arXiv 2106.09685).

    The optimizer only has the state of the adapters, which are float32 whatever the weights are. Learning rates are
    about ten times those of full fine-tuning.
    """

    rank: PositiveInt = 16
    """Rank of the change of each layer."""
    alpha: Positive = 32.0
    """The change is alpha / rank times the product of the two factors."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout of the adapters' inputs."""
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Linear layers by name or the end of it, such as ["q_proj", "v_proj"]; None takes every trained linear layer
    (with `freeze_encoder` only the text decoder's), except the output layer."""
