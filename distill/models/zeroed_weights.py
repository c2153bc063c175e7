"""Finds weights that are zero because a download was not completed after its file was allocated at full size."""

from __future__ import annotations

import copy
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from overlap.arguments import callers_level

from .base import ModelError
from .files import AGAIN

_CHUNK = 1 << 20
_PART = 64
"""Number of zero bytes at a tensor's end above which they are not the zero bytes of small numbers."""
_SHOWN = 4


def check_zeros(model: str, network: nn.Module, folder: Path | None) -> None:
    """Refuse matrices of zeros, or warn of them.

    A file that ends in zeros over several of its tensors was never completed. Elsewhere a matrix of zeros may be
    intended, as in layers added to a model, and gives only a warning.

    Args:
        model: Its name, for messages.
        network: With its weights.
        folder: Where the files are, None if that is not known.

    Raises:
        ModelError: A file was never completed; names it and the weights.

    Warns:
        UserWarning: Other matrices of zeros.
    """
    names = list(_zero_matrices(network))
    if not names:
        return
    found = {path: zero_end(path) for path in sorted(folder.glob("*.safetensors"))} if folder else {}
    some = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    for path, (n_bytes, tensors) in found.items():
        if tensors > 1:
            raise ModelError(
                f"{path} ends in {n_bytes:,} bytes of zeros, over {tensors} of its tensors: its download was not "
                f"completed. So {some} contain only zeros, entirely or in their second half; {AGAIN}"
            )
    where = next(
        (f"{path}, which ends in {n:,} bytes of zeros" for path, (n, tensors) in found.items() if tensors), model
    )
    warnings.warn(
        f"{where}: matrices that contain only zeros, entirely or in their second half: {some}. Trained models rarely "
        f"have any; unless this is intended, {AGAIN}",
        stacklevel=callers_level(),
    )


def zero_end(path: Path) -> tuple[int, int]:
    """Return the number of zero bytes at the end of a safetensors file, and of tensors that they cover."""
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(start - 8))
        size = file.seek(0, os.SEEK_END)
        first = size
        while first > start:
            begin = max(start, first - _CHUNK)
            file.seek(begin)
            kept = len(file.read(first - begin).rstrip(b"\0"))
            first = begin + kept
            if kept:
                break
    ends = [tuple(entry["data_offsets"]) for name, entry in header.items() if name != "__metadata__"]
    reached = [end for begin, end in ends if start + end - max(first, start + begin) >= min(_PART, max(1, end - begin))]
    return size - first, len(reached)


def _zero_matrices(network: nn.Module) -> Iterator[str]:
    """Yield names of matrices that are zero: entirely, if their initialization is not, or in their second half."""
    seen: set[int] = set()  # tied weights have several names
    for prefix, module in network.named_modules():
        for name, weight in module.named_parameters(recurse=False):
            if id(weight) in seen:
                continue
            seen.add(id(weight))
            values = _values(weight)
            if values.dim() < 2 or not values.numel() or bool(values[len(values) // 2 :].any()):
                continue
            if values.any() or not _is_initialized_to_zero(network, module, name):
                yield f"{prefix}.{name}" if prefix else name


def _values(weight: Tensor) -> Tensor:
    """Return the numbers of a weight; for a quantized one, its integers without scales."""
    inner = getattr(weight, "__tensor_flatten__", None)
    parts = [getattr(weight, part) for part in inner()[0]] if inner else []
    return next((part for part in parts if part.shape == weight.shape), weight).detach()


def _is_initialized_to_zero(network: Any, module: nn.Module, name: str) -> bool:
    """Return whether the model's own initialization sets a weight to zero, as for some gates."""
    initialize = getattr(network, "_init_weights", None)
    if initialize is None:
        return False
    fresh = copy.deepcopy(module)
    weight = dict(fresh.named_parameters(recurse=False))[name]
    if not weight.is_floating_point():
        return False
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        weight.fill_(torch.nan)  # weights that initialization skips remain NaN
        initialize(fresh)
    return not bool(weight.any())
