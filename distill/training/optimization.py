"""The optimization of one stage: AdamW, its learning-rate schedule, and updates that are synchronized over all
processes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
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
from torch.optim.lr_scheduler import LambdaLR

from ..recipe import StageConfig
from .errors import TrainingError
from .parameter_groups import parameter_groups
from .schedule import share_of_lr

# Gathered from all shards, so that a run may resume on another number of processes.
FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)


class Optimization:
    """Optimizer and schedule of a stage, created when the stage is entered.

    Args:
        model: The student, as prepared by the accelerator.
        stage: Learning rate, schedule and the rest.
        horizon: Steps that the schedule spans.
        accelerator: Joins the processes.
        state: A `state_dict` to continue from.

    Raises:
        TrainingError: The state is of another version with other groups of parameters.
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
        groups = parameter_groups(model, stage.weight_decay)
        self._optimizer = torch.optim.AdamW(groups, lr=stage.lr, betas=stage.betas)
        share = partial(share_of_lr, schedule=stage.schedule, warmup_steps=stage.warmup_steps, horizon=horizon)
        self._scheduler = LambdaLR(self._optimizer, share)
        if state is not None:
            saved = len(state["optimizer"]["param_groups"])
            if saved != len(groups):
                raise TrainingError(
                    f"the checkpoint's optimizer state has {saved} group{'s' if saved > 1 else ''} of parameters, this "
                    f"version makes {len(groups)}: it was written when weight decay applied to norms, biases and "
                    'embeddings. Resume with the version that resolved.json names under "versions", or start a new run'
                )
            set_optimizer_state_dict(model, self._optimizer, state["optimizer"], options=FULL)
            self._scheduler.load_state_dict(state["scheduler"])
        self._prepared = accelerator.prepare_optimizer(self._optimizer)
        self._loss, self._positions = 0.0, 0

    @contextmanager
    def part(self, *, last: bool) -> Iterator[None]:
        """Run forward pass and `backward` of a part of a step inside; processes exchange gradients only in the last
        part."""
        with nullcontext() if last else self._accelerator.no_sync(self._model):
            yield

    def backward(self, loss: Tensor, positions: int) -> None:
        """Add the gradients of a part of a step.

        Args:
            loss: Scalar with a graph, summed over the part's positions, in nats.
            positions: Number of these positions.
        """
        self._accelerator.backward(loss)
        self._loss, self._positions = self._loss + float(loss.detach()), self._positions + positions

    def gradients(self) -> tuple[float, float, int]:
        """Turn the summed gradients into those of the mean loss over all positions of all processes, and clip them.

        The sum is divided once, at the end, by all positions: a mean of the parts' means would weight positions of
        short parts more.

        Returns:
            Mean loss in nats a position, gradient norm before clipping, and positions of all processes.
        """
        accelerator = self._accelerator
        own = torch.tensor([self._loss, self._positions], dtype=torch.float32, device=accelerator.device)
        self._loss, self._positions = 0.0, 0
        loss, total = self._reduced(own, "sum").tolist()
        for parameter in self._model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(accelerator.num_processes / max(total, 1))  # processes have averaged their sums
        # Optional in its type for DeepSpeed, which clips inside its engine and is not supported here.
        norm = cast(Tensor, accelerator.clip_grad_norm_(self._model.parameters(), self._clip))
        return loss / total if total else math.nan, float(norm), int(total)

    def step(self, *, update: bool = True) -> float:
        """Update the weights with the gradients at hand; returns the learning rate that was used.

        Args:
            update: False only advances the schedule: without positions, momentum would still move the weights.
        """
        if not update:
            self._optimizer.zero_grad(set_to_none=True)  # so that a parameter without a gradient does not change
        self._prepared.step()
        lr = float(self._scheduler.get_last_lr()[0])
        self._scheduler.step()
        self._prepared.zero_grad()
        return lr

    def state_dict(self) -> dict[str, Any]:
        """Return the state of optimizer and schedule."""
        tensors = get_optimizer_state_dict(self._model, self._optimizer, options=FULL)
        return {"optimizer": tensors, "scheduler": self._scheduler.state_dict()}

    def _reduced(self, tensor: Tensor, reduction: str) -> Tensor:
        # Typed as any nesting of containers that it also accepts.
        return cast(Tensor, self._accelerator.reduce(tensor, reduction=reduction))


def full_weights(model: nn.Module) -> dict[str, Any]:
    """Return all weights on the CPU, by the names that `from_pretrained` knows."""
    return get_model_state_dict(model, options=FULL)
