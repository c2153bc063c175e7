"""The optimisation of one stage: AdamW, its learning-rate schedule, and the update that all processes take together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from transformers import get_scheduler

from ..recipe import StageConfig

# Gathered from all shards, so that a run may resume on another number of processes.
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class Optimisation:
    """Optimiser and schedule of a stage, made anew when the stage is entered.

    Args:
        model: The student, as prepared by the accelerator.
        stage: Learning rate, schedule and the rest.
        horizon: Steps that the schedule spans.
        accelerator: Joins the processes.
        state: A `state_dict` to go on from.
    """

    def __init__(
        self,
        model: nn.Module,
        stage: StageConfig,
        horizon: int,
        accelerator: Accelerator,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self._model, self._clip, self._accelerator = model, stage.clip, accelerator
        self._optimiser = torch.optim.AdamW(
            [parameter for parameter in model.parameters() if parameter.requires_grad],
            lr=stage.lr,
            betas=stage.betas,
            weight_decay=stage.weight_decay,
        )
        self._scheduler = get_scheduler(stage.schedule, self._optimiser, stage.warmup_steps, horizon)
        if state is not None:
            set_optimizer_state_dict(model, self._optimiser, state["optimiser"], options=WHOLE)
            self._scheduler.load_state_dict(state["scheduler"])
        self._prepared = accelerator.prepare_optimizer(self._optimiser)

    def backward(self, loss: Tensor, positions: int) -> tuple[float, float, int]:
        """Gradients of the mean loss over all positions of all processes, clipped.

        Args:
            loss: Scalar with a graph, summed over this process's positions, in nats.
            positions: How many they are.

        Returns:
            Mean loss in nats a position, gradient norm before clipping, and positions of all processes.
        """
        accelerator = self._accelerator
        total = int(self._reduced(torch.tensor(positions, device=accelerator.device), "sum"))
        # Ranks average their gradients; scaling by their number makes the loss a mean over all positions of the batch.
        mean = loss * accelerator.num_processes / max(total, 1)
        accelerator.backward(mean)
        # Typed as optional for DeepSpeed, which clips inside its engine and is not offered here.
        norm = cast(Tensor, accelerator.clip_grad_norm_(self._model.parameters(), self._clip))
        return float(self._reduced(mean.detach(), "mean")), float(norm), total

    def step(self) -> float:
        """Update the weights with the gradients at hand; returns the learning rate that was used."""
        self._prepared.step()
        lr = float(self._scheduler.get_last_lr()[0])
        self._scheduler.step()
        self._prepared.zero_grad()
        return lr

    def state_dict(self) -> dict[str, Any]:
        """State of optimiser and schedule."""
        tensors = get_optimizer_state_dict(self._model, self._optimiser, options=WHOLE)
        return {"optimiser": tensors, "scheduler": self._scheduler.state_dict()}

    def _reduced(self, tensor: Tensor, reduction: str) -> Tensor:
        # Typed as any nesting of containers that it also accepts.
        return cast(Tensor, self._accelerator.reduce(tensor, reduction=reduction))


def whole_weights(model: nn.Module) -> dict[str, Any]:
    """All weights on the CPU, by the names that `from_pretrained` knows."""
    return get_model_state_dict(model, options=WHOLE)
