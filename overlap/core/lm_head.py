"""Output heads: the matrix from hidden states to logits, for the full vocabulary or for a few tokens at each
position."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from overlap.core import chunking
from overlap.core.buffers import Scratch
from overlap.core.head_rules import parameters_before_layer, scale_and_cap
from overlap.core.layouts import plain_parameter
from overlap.errors import UserError


@dataclass(frozen=True, eq=False)
class Head:
    """An output head, z = a (W h + b), or c tanh(a (W h + b) / c) if it is capped.

    Attributes:
        weight: ``[V, H]``, H the size of the hidden states.
        bias: ``[V]`` or None.
        scale: a, above 0; Cohere's ``logit_scale``, one over Granite's ``logits_scaling``.
        softcap: c, above 0; Gemma's ``final_logit_softcapping``. None caps nothing.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or not self.weight.is_floating_point():
            raise UserError(
                f"head: expected a floating-point weight [V, H], received {list(self.weight.shape)} of "
                f"{self.weight.dtype}"
            )
        if self.bias is not None and self.bias.shape != self.weight.shape[:1]:
            raise UserError(
                f"head: expected a bias [{self.weight.shape[0]}] for the weight {list(self.weight.shape)}, received "
                f"{list(self.bias.shape)}"
            )
        for name, value in (("scale", self.scale), ("softcap", self.softcap)):
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"head: {name} must be a finite number above 0, received {value!r}")

    @classmethod
    def from_layer(cls, head: "Head | nn.Module | Tensor", name: str) -> "Head":
        """Take a model's output layer, its weight alone, or a whole model, see `from_model`.

        Raises:
            UserError: if it is anything else; ``name`` says which head.
        """
        if isinstance(head, Head):
            return head
        if isinstance(head, nn.Linear) and type(head).forward is nn.Linear.forward:
            bias = None if head.bias is None else plain_parameter(head.bias, name)
            return cls(plain_parameter(head.weight, name), bias)
        if isinstance(head, Tensor):
            return cls(plain_parameter(head, name))
        if isinstance(head, nn.Module) and hasattr(head, "get_output_embeddings") and hasattr(head, "config"):
            return cls.from_model(head)
        raise UserError(
            f"{name}: expected a model, torch.nn.Linear, a weight [V, H] or overlap.Head(weight, bias), received "
            f"{type(head).__name__}; for a head that is not linear, pass its logits to overlap.measure"
        )

    @classmethod
    def from_model(cls, model: Any) -> "Head":
        """Return the complete head of a transformers model, including changes to the logits after its output layer.

        These changes follow from its class and configuration: a scale (Cohere, Granite, Falcon-H1, MiniCPM3, HyperCLOVA
        X), a soft cap (Gemma 2 to 4, RecurrentGemma, PaliGemma, T5Gemma, xLSTM, nanochat) or a bias kept beside the
        layer (BART's ``final_logits_bias``). Its input is the model's last hidden states, ``last_hidden_state`` of its
        decoder.

        Raises:
            UserError: if the model has no output layer, or one that is not linear or whose input is not the last hidden
                states (heads of BERT and similar models transform them first), or if a configuration key seems to
                change the logits and the model's class is not known.
        """
        layer = model.get_output_embeddings()
        if not isinstance(layer, nn.Linear):
            raise UserError(
                f"head: expected a model whose get_output_embeddings() is torch.nn.Linear, received "
                f"{type(model).__name__} with {type(layer).__name__}; pass overlap.Head(weight, bias, …)"
            )
        between = parameters_before_layer(model, layer)
        if between:
            raise UserError(
                f"head: the output layer of {type(model).__name__} does not take its last hidden states: they pass "
                f"through {', '.join(between[:3])}{' …' if len(between) > 3 else ''} first; give its logits to "
                "overlap.measure, or overlap.Head(weight, bias) and the hidden states that come out of that"
            )
        head = cls.from_layer(layer, "head")
        scale, softcap = scale_and_cap(model)
        bias, beside = head.bias, getattr(model, "final_logits_bias", None)
        if isinstance(beside, Tensor) and bool(beside.any()):
            bias = beside.reshape(-1).to(head.weight) if bias is None else bias + beside.reshape(-1).to(bias)
        return cls(head.weight, bias, scale, softcap)

    @property
    def vocabulary(self) -> int:
        """V, the number of logits."""
        return self.weight.shape[0]

    @property
    def size(self) -> int:
        """H, the size of the hidden states."""
        return self.weight.shape[1]

    def check(self, hidden: Tensor, name: str) -> None:
        """Refuse hidden states that are not floating-point ``[..., H]``.

        Raises:
            UserError: naming what was received and what is expected.
        """
        if not isinstance(hidden, Tensor) or not hidden.is_floating_point():
            received = hidden.dtype if isinstance(hidden, Tensor) else type(hidden).__name__
            raise UserError(f"{name}: expected a floating-point torch.Tensor of hidden states, received {received}")
        if hidden.ndim == 0 or hidden.shape[-1] != self.size:
            raise UserError(
                f"{name}: expected hidden states [..., {self.size}] for a head of weight {list(self.weight.shape)}, "
                f"received {list(hidden.shape)}; pass the states that the output layer takes, after the last norm"
            )

    def logits(self, hidden: Tensor, scratch: Scratch) -> Tensor:
        """Return all logits ``[n, V]`` of hidden states ``[n, H]``, in the dtype of the weight, as the model has them.

        They are in the scratch memory, and the next call overwrites them: allocating new pages costs as much as the
        product of a few rows.
        """
        out = scratch("logits", hidden.shape[0], self.vocabulary, dtype=self.weight.dtype)
        rows, columns = hidden.to(self.weight.dtype), self.weight.T
        if self.bias is None:
            torch.mm(rows, columns, out=out)
        else:
            torch.addmm(self.bias, rows, columns, out=out)
        if self.scale != 1.0:
            out.mul_(self.scale)
        return out if self.softcap is None else out.div_(self.softcap).tanh_().mul_(self.softcap)

    def slope(self, logits: Tensor) -> Tensor | float:
        """Return the derivative of the logits with respect to the layer's output, at these logits; −inf counts as 0."""
        if self.softcap is None:
            return self.scale
        return (1.0 - (logits / self.softcap).nan_to_num(neginf=1.0).square_()).mul_(self.scale)

    def logits_at(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """Return the logits of a few tokens at each position only, differentiable.

        Neither forward nor backward holds more than `overlap.core.chunking.CHUNK_ELEMENTS` gathered elements at once.
        Sums over H, and over positions in the gradient of the head, are float32 at least, whatever the inputs are.

        Args:
            hidden: ``[n, H]``.
            ids: ``[n, m]`` long; a token may be repeated.

        Returns:
            ``[n, m]``, float32 (float64 where the hidden states or the weight are).
        """
        raw = self.scale * cast(Tensor, _LogitsAt.apply(hidden, self.weight, self.bias, ids.to(self.weight.device)))
        return raw if self.softcap is None else self.softcap * (raw / self.softcap).tanh()


class _LogitsAt(torch.autograd.Function):
    """z[i, j] = W[ids[i, j]] · h[i] + b[ids[i, j]], by elementwise products: autocast does not lower their
    precision."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, ids: Tensor) -> Tensor:
        ctx.save_for_backward(hidden, weight, ids)
        ctx.bias_dtype = None if bias is None else bias.dtype
        result = torch.empty(ids.shape, dtype=_precision(hidden, weight), device=weight.device)
        for part in _parts(ids.shape[0], ids.shape[1] * weight.shape[1]):
            rows = weight[ids[part]].to(result.dtype)
            result[part] = rows.mul_(hidden[part].unsqueeze(1)).sum(-1)
        return result if bias is None else result.add_(bias[ids])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]: the decorator hides the parameters' names
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        (slope,) = gradients
        hidden, weight, ids = ctx.saved_tensors
        to_hidden = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_hidden = torch.empty_like(hidden)
            for part in _parts(ids.shape[0], ids.shape[1] * weight.shape[1]):
                to_hidden[part] = weight[ids[part]].to(slope.dtype).mul_(slope[part].unsqueeze(-1)).sum(1)
        if ctx.needs_input_grad[1]:
            to_weight = _weight_gradient(slope, ids, hidden, weight)
        if ctx.needs_input_grad[2]:
            to_bias = torch.zeros(weight.shape[0], dtype=slope.dtype, device=slope.device)
            to_bias = to_bias.index_add_(0, ids.flatten(), slope.flatten()).to(ctx.bias_dtype)
        return to_hidden, to_weight, to_bias, None


def _weight_gradient(slope: Tensor, ids: Tensor, hidden: Tensor, weight: Tensor) -> Tensor:
    """Return Σ slope[i, j] h[i] over all (i, j) with ids[i, j] = v, for every v, ``[V, H]``.

    Tokens are processed in ascending order, one tile of the vocabulary at a time. A row of a half-precision head is
    then rounded only once, after its sum is complete.
    """
    position, slot = slope.nonzero(as_tuple=True)  # slots that are not in the set have no slope
    token, order = ids[position, slot].sort(stable=True)
    position, factor = position[order], slope[position, slot][order].unsqueeze(-1)
    result = torch.zeros_like(weight)
    tiles = _parts(*weight.shape)
    starts = torch.tensor([tile.start for tile in tiles] + [weight.shape[0]], device=token.device)
    bounds = torch.searchsorted(token, starts).tolist()
    for tile, first, last in zip(tiles, bounds[:-1], bounds[1:], strict=True):
        if first == last:
            continue
        rows = torch.zeros(result[tile].shape, dtype=slope.dtype, device=slope.device)
        for part in _parts(last - first, weight.shape[1], first):
            rows.index_add_(0, token[part] - tile.start, hidden[position[part]].to(slope.dtype).mul_(factor[part]))
        result[tile] = rows
    return result


def _parts(n: int, width: int, start: int = 0) -> list[slice]:
    return chunking.parts_of(n, width, chunking.CHUNK_ELEMENTS, start)


def _precision(*tensors: Tensor) -> torch.dtype:
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype
