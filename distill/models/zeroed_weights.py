"""Weights that are zeros because they never arrived: a file made at its full size whose download was not completed."""

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

from .base import ModelError
from .files import AGAIN

_CHUNK = 1 << 20
_PART = 64
"""Bytes of a tensor that are taken for more than small numbers' zero bytes."""
_SHOWN = 4


def check_zeros(model: str, network: nn.Module, folder: Path | None) -> None:
    """Refuse, or doubt, matrices of zeros.

    A file that ends in zeros over several of its tensors was never completed. Elsewhere a matrix of zeros may be meant,
    as in layers that were added to a model and do nothing yet, and is a warning.

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
                f"{path} ends in {n_bytes:,} bytes of zeros, over {tensors} of its tensors: space was made for it and "
                f"its download never completed. So {some} hold zeros alone, wholly or in their second half; {AGAIN}"
            )
    where = next(
        (f"{path}, which ends in {n:,} bytes of zeros" for path, (n, tensors) in found.items() if tensors), model
    )
    warnings.warn(
        f"{where}: matrices that hold zeros alone, wholly or in their second half: {some}. A trained model hardly has "
        f"any; unless they are meant so, {AGAIN}",
        stacklevel=3,
    )


def zero_end(path: Path) -> tuple[int, int]:
    """How many bytes of zeros a safetensors file ends in, and over how many of its tensors they reach."""
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
    """Names of matrices that are zeros, wholly where their initialization is not, or in their second half."""
    seen: set[int] = set()  # tied ones have several names
    for prefix, module in network.named_modules():
        for name, weight in module.named_parameters(recurse=False):
            if id(weight) in seen:
                continue
            seen.add(id(weight))
            values = _values(weight)
            if values.dim() < 2 or not values.numel() or bool(values[len(values) // 2 :].any()):
                continue
            if values.any() or not _begins_at_zero(network, module, name):
                yield f"{prefix}.{name}" if prefix else name


def _values(weight: Tensor) -> Tensor:
    """The numbers of a weight; of a quantized one, those that its scales multiply."""
    inner = getattr(weight, "__tensor_flatten__", None)
    parts = [getattr(weight, part) for part in inner()[0]] if inner else []
    return next((part for part in parts if part.shape == weight.shape), weight).detach()


def _begins_at_zero(network: Any, module: nn.Module, name: str) -> bool:
    """Whether a model's own initialization sets a weight to zero, as it does with those of some gates."""
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
