"""Checkpoint weights that the architecture would drop or misinterpret."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from .base import ModelError

_LAYER = re.compile(r"\.(\d+)\.")
_MORE = ("num_nextn_predict_layers", "num_mtp_layers")
"""Settings with the number of multi-token prediction layers, which some checkpoints number after the decoder's
layers."""
_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Names of weights in the order in which transformers looks for them."""
_WHOLE_NUMBERS = re.compile(r"[IU]\d+|u?int\d+")
_EIGHT_BITS = re.compile(r"F8_|float8_")


def check_layers(model: str, network: Any, unexpected: Collection[str]) -> None:
    """Refuse a checkpoint with more layers than its architecture; the additional ones would be dropped.

    Other unexpected names are left to transformers, which reports them unless they are known to be harmless, such as
    unused heads or tables that are now computed.

    Args:
        model: Its name, for messages.
        network: As it was loaded.
        unexpected: Names of weights that the architecture does not have.

    Raises:
        ModelError: There are such layers; names their stacks and how many there are.
    """
    stacks = {path: len(module) for path, module in network.named_modules() if isinstance(module, nn.ModuleList)}
    more = _more_layers(network.config)
    found: dict[str, int] = {}
    for name in unexpected:
        for match in _LAYER.finditer(name):
            # If the model below the output layer was saved alone, the names lack their prefix.
            paths = (name[: match.start()], f"{network.base_model_prefix}.{name[: match.start()]}")
            path = next((path for path in paths if path in stacks), None)
            if path is not None and int(match[1]) >= stacks[path] + more:
                found[path] = max(found.get(path, 0), int(match[1]) + 1)
    if found:
        counts = ", ".join(f"{path} has {n} in the files, {stacks[path]} by config.json" for path, n in found.items())
        raise ModelError(
            f"{model!r}: its files hold more layers than its config.json says, and the additional ones would be "
            f"dropped: {counts}. Take the config.json that belongs to these weights; for a student with fewer "
            "layers, use keep_decoder_layers"
        )


def check_number_types(model: str, config: Any, folder: Path | None) -> None:
    """Refuse quantized weights without quantization settings: their integers would be used as weights.

    Args:
        model: Its name, for messages.
        config: The checkpoint's configuration.
        folder: Where its files are; None if that is not known.

    Raises:
        ModelError: There are some; names one.
    """
    if folder is None or getattr(config.get_text_config(), "quantization_config", None) is not None:
        return
    if getattr(config, "quantization_config", None) is not None:
        return
    types = dict(_stored_types(folder))
    scaled = {name.split("_scale")[0] for name in types if "_scale" in name}
    for name, kind in types.items():
        is_weight = name.endswith(".weight")
        if is_weight and (_WHOLE_NUMBERS.match(kind) or (_EIGHT_BITS.match(kind) and name in scaled)):
            raise ModelError(
                f"{model!r}: its files hold quantized weights, such as {name} as {kind}, and its config.json has no "
                "quantization_config: the quantized numbers would be used as weights. Take the "
                "config.json that belongs to these weights, or a checkpoint that is not quantized"
            )


def _more_layers(config: Any) -> int:
    counts = [getattr(part, name, None) for part in (config, config.get_text_config()) for name in _MORE]
    return max((count for count in counts if isinstance(count, int)), default=0)


def _stored_types(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield names and number types of weights, from the headers of the files."""
    first = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    if first is None:
        return
    shards = [first]
    if first.suffix == ".json":
        shards = [folder / name for name in sorted(set(json.loads(first.read_bytes())["weight_map"].values()))]
    for shard in shards:
        if shard.suffix == ".safetensors":
            with safe_open(shard, framework="pt") as file:
                names: list[str] = file.keys()
                yield from ((name, file.get_slice(name).get_dtype()) for name in names)
        else:
            tensors = torch.load(shard, map_location="meta", weights_only=True)
            for name, tensor in tensors.items():
                if isinstance(tensor, torch.Tensor):
                    yield name, str(tensor.dtype).removeprefix("torch.")
