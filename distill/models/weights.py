"""Loads weights into an architecture completely: missing weights are never initialized randomly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .base import ModelError, without_progress_bars
from .surplus_weights import check_layers

SHOWN = 4
"""Number of names of weights in a message."""
WRAPPED = "it was saved from inside a wrapper: save the model itself, or take that beginning off the names"


def load_weights(architecture: Any, model: str, **options: Any) -> Any:
    """Return a network of transformers with the weights of a checkpoint.

    Args:
        architecture: The class of transformers that loads them.
        model: Directory or Hub name.
        options: Of its `from_pretrained`.

    Raises:
        ModelError: Weights are missing, of other shapes, of more layers, or not finite; names them and the remedy.
    """
    with without_progress_bars():
        # Mismatched shapes are collected and refused here, because transformers' own error has no names.
        network, found = architecture.from_pretrained(
            model, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    if hasattr(network, "peft_config"):
        raise ModelError(f"{model!r} {IS_ADAPTER}")
    check_fit(model, found["missing_keys"], found["unexpected_keys"], found["mismatched_keys"])
    check_layers(model, network, found["unexpected_keys"])
    if found["error_msgs"]:
        raise ModelError(f"cannot load the weights of {model!r}: {'; '.join(found['error_msgs'])}")
    check_finite(model, network)
    return network


IS_ADAPTER = (
    "holds a LoRA adapter, not a model: merge it into its base with peft "
    "(`PeftModel.from_pretrained(base, adapter).merge_and_unload()`), save that with its processor or tokenizer, and "
    "give its folder"
)


def check_fit(
    model: str,
    missing: Collection[str],
    unexpected: Collection[str],
    mismatched: Collection[tuple[str, Any, Any]],
) -> None:
    """Refuse a checkpoint that does not fill its architecture.

    Args:
        model: Its name, for messages.
        missing: Names of weights that it lacks; tied weights are not missing.
        unexpected: Names that the architecture does not have.
        mismatched: Name, shape in the checkpoint, and shape in the architecture.

    Raises:
        ModelError: A weight is missing or has another shape.
    """
    if mismatched:
        shapes = sorted((name, list(found), list(expected)) for name, found, expected in mismatched)
        named = [f"{name} is {found}, not {expected}" for name, found, expected in shapes]
        raise ModelError(
            f"{model!r}: weights of other shapes than its config.json says: {_some(named)}. "
            "Take config.json and weights of the same model"
        )
    if missing:
        names = sorted(missing)
        prefix = _prefix(names, unexpected)
        raise ModelError(
            f"{model!r}: its files lack weights that its architecture has, which would be random: {_some(names)}. "
            + (
                f"They are there under names that begin with {prefix!r}: {WRAPPED}"
                if prefix
                else "Save the entire model again, or take the config.json that belongs to these weights"
                + (f" (they have {len(unexpected)} others, such as {min(unexpected)})" if unexpected else "")
            )
        )


def check_finite(model: str, network: nn.Module) -> None:
    """Refuse weights that are NaN or infinite; the model would seem to make errors everywhere.

    Raises:
        ModelError: There are some; names them.
    """
    broken = [name for name, weight in network.named_parameters() if not all(map(_finite, _parts(weight)))]
    broken += [name for name, weight in network.named_buffers() if weight.is_floating_point() and _has_nan(weight)]
    if broken:
        raise ModelError(
            f"{model!r}: weights that hold NaN or infinite numbers: {_some(broken)}. Training diverged before it was "
            "saved, or numbers overflowed in a conversion; take an earlier checkpoint"
        )


def _parts(weight: Tensor) -> Iterator[Tensor]:
    """Return the plain tensors of a weight; quantized weights have several."""
    inner = getattr(weight, "__tensor_flatten__", None)
    parts: Iterable[Tensor] = [getattr(weight, part) for part in inner()[0]] if inner else [weight.detach()]
    return (part for part in parts if part.is_floating_point())


def _finite(weight: Tensor) -> bool:
    # A sum needs no memory; if it overflows although its terms do not, the terms are checked.
    wide = weight.float() if weight.element_size() < 2 else weight
    return bool(wide.sum(dtype=torch.float32).isfinite()) or bool(wide.isfinite().all())


def _has_nan(weight: Tensor) -> bool:
    return bool(weight.float().isnan().any())


def _prefix(missing: list[str], unexpected: Collection[str]) -> str | None:
    """Return the prefix of most missing names in the file, such as `module.`; None if a prefix is not the problem."""
    beginnings = Counter(there.removesuffix(name) for there in unexpected for name in missing if there.endswith(name))
    if not beginnings:
        return None
    prefix, times = beginnings.most_common(1)[0]
    return prefix if 2 * times > len(missing) else None  # not all: tied weights are in no file


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
