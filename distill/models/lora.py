"""LoRA adapters in a student, through peft: layers are replaced in place, and the model keeps its class.

A checkpoint contains the merged weights, which `from_pretrained` loads without peft, and in `adapter/` the factors in
peft's own format. Training continues from the factors, because merging rounds the weights irreversibly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from overlap.extras import require

from .base import ModelError, Recognizer
from .files import file_damage

FOLDER = "adapter"
_NAME = "default"  # peft's name if there is one adapter
_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."  # of names in peft's files


def add_adapters(
    recognizer: Recognizer,
    *,
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    target_modules: Sequence[str] | None = None,
    seed: int = 0,
) -> None:
    """Add adapters to a recognizer and freeze everything else; its outputs do not change until they are trained.

    Args:
        recognizer: The model; layers that are already frozen get no adapter.
        rank: Of the factors.
        alpha: Their product is scaled by alpha / rank.
        dropout: Of their inputs.
        target_modules: Linear layers by name or its ending; None takes all trained ones except the output layer.
        seed: Of the first factor; the second begins at zero.

    Raises:
        MissingExtraError: peft is not installed.
        ModelError: A name that no linear layer has, or layers that are all frozen.
    """
    peft: Any = require("peft", extra="lora", purpose="student.lora")
    network = recognizer.generator
    targets = _targets(network, target_modules, recognizer.name)
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=targets,
        fan_in_fan_out=isinstance(network.get_submodule(targets[0]), Conv1D),
        base_model_name_or_path=recognizer.name,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, network, adapter_name=_NAME)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # small updates vanish in half precision
    network.train(False)


def _targets(network: Any, wanted: Sequence[str] | None, name: str) -> list[str]:
    """Return full names of the layers that get adapters."""
    head = network.get_output_embeddings()
    linear = {
        path: module
        for path, module in network.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }
    chosen = linear
    if wanted is not None:
        heads = [path for path, module in network.named_modules() if module is head]
        for target in wanted:
            if any(_ends_in(path, target) for path in heads):
                raise ModelError(
                    f"{name}: student.lora.target_modules has {target!r}, the output layer, which takes no adapter: "
                    "it often shares its weight with the embeddings, and both models' distributions are "
                    "computed with it; leave it out"
                )
            if not any(_ends_in(path, target) for path in linear):
                ends = sorted({path.rpartition(".")[2] for path in linear})
                raise ModelError(
                    f"{name}: student.lora.target_modules has {target!r}, but no linear layer has this name; they end "
                    "in "
                    f"{', '.join(ends)}"
                )
        chosen = {path: m for path, m in linear.items() if any(_ends_in(path, target) for target in wanted)}
    trained = [path for path, module in chosen.items() if any(p.requires_grad for p in module.parameters())]
    if not trained:
        raise ModelError(
            f"{name}: student.lora.target_modules names only layers of the encoder, which student.freeze_encoder "
            "freezes; name others, or remove freeze_encoder"
        )
    return trained


def _ends_in(path: str, target: str) -> bool:
    return path == target or path.endswith(f".{target}")


def has_adapters(network: nn.Module) -> bool:
    """Return whether the network has adapters."""
    return hasattr(network, "peft_config")


def merged(network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return all weights under their names without adapters, each adapter added to its layer.

    Uses a state dictionary, because the layers' own weights may be sharded; sums are float32, results have the layer's
    dtype.

    Args:
        network: With adapters.
        weights: Its full state, on one device.
    """
    own = {name.replace(".base_layer.", "."): weight for name, weight in weights.items() if not _is_factor(name)}
    for path, layer in network.named_modules():
        if hasattr(layer, "lora_A"):
            factors: list[Tensor] = [weights[f"{path}.lora_{side}.{_NAME}.weight"].float() for side in "BA"]
            settings: Any = layer
            change = factors[0] @ factors[1] * settings.scaling[_NAME]
            weight = own[f"{path}.weight"]
            own[f"{path}.weight"] = (weight.float() + (change.T if settings.fan_in_fan_out else change)).to(
                weight.dtype
            )
    return own


def save_adapters(network: Any, weights: Mapping[str, Tensor], directory: Path) -> None:
    """Write the factors and their settings to `directory`, as peft does.

    Args:
        network: With adapters.
        weights: Its full state.
        directory: Created.
    """
    directory.mkdir(parents=True)
    network.peft_config[_NAME].save_pretrained(directory)
    factors = {_PREFIX + n.replace(f".{_NAME}.", "."): w.contiguous() for n, w in weights.items() if _is_factor(n)}
    save_file(factors, directory / _WEIGHTS, metadata={"format": "pt"})


def load_adapters(network: nn.Module, directory: Path) -> None:
    """Load the factors that `save_adapters` wrote.

    Raises:
        ModelError: They are not those of these adapters, or damaged.
    """
    path = directory / _WEIGHTS
    if not path.is_file():
        raise ModelError(f"{path} is missing: a run with student.lora continues from its factors; start a new run")
    if found := file_damage(path):
        raise ModelError(found)
    stored = {name.removeprefix(_PREFIX): weight for name, weight in load_file(path).items()}
    own = {name: name.replace(f".{_NAME}.", ".") for name in network.state_dict() if _is_factor(name)}
    if set(own.values()) != set(stored):
        raise ModelError(f"{path} has adapters of other layers than student.lora names; start a new run")
    network.load_state_dict({name: stored[plain] for name, plain in own.items()}, strict=False)


def _is_factor(name: str) -> bool:
    return ".lora_A." in name or ".lora_B." in name
