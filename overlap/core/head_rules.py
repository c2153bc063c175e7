"""Rules for what models do before and after their output layer, from their modules and configurations."""

import re
from collections.abc import Iterator
from typing import Any

from torch import nn

from overlap.errors import UserError

_COHERE = ("CohereForCausalLM", "Cohere2ForCausalLM", "Cohere2MoeForCausalLM")
_GEMMA = (
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "Gemma3nForCausalLM",
    "Gemma3nForConditionalGeneration",
    "Gemma4ForCausalLM",
    "Gemma4ForConditionalGeneration",
    "VaultGemmaForCausalLM",
    "PaliGemmaForConditionalGeneration",
    "T5GemmaForConditionalGeneration",
    "T5Gemma2ForConditionalGeneration",
    "NanoChatForCausalLM",
)
_GRANITE = (
    "GraniteForCausalLM",
    "GraniteMoeForCausalLM",
    "GraniteMoeSharedForCausalLM",
    "GraniteMoeHybridForCausalLM",
    "MiniCPM3ForCausalLM",  # before its layer, which has no bias: the same
)

_RULES: dict[str, tuple[str, str]] = (
    dict.fromkeys(_COHERE, ("logit_scale", "times"))
    | dict.fromkeys(_GRANITE, ("logits_scaling", "over"))
    | dict.fromkeys(_GEMMA, ("final_logit_softcapping", "cap"))
    | {
        "HyperCLOVAXForCausalLM": ("logits_scaling", "times"),
        "FalconH1ForCausalLM": ("lm_head_multiplier", "times"),
        "RecurrentGemmaForCausalLM": ("logits_soft_cap", "cap"),
        "xLSTMForCausalLM": ("output_logit_soft_cap", "cap"),
    }
)
"""For each model class, the one configuration key that changes its logits, and how. The same key multiplies in one
family and divides in another, and some classes ignore their key."""

_SCALED_BEFORE = ("t5", "mt5", "umt5", "longt5", "switch_transformers", "udop", "pop2piano")
"""Families that may scale the hidden states before their layer; their configuration does not tell whether they do."""

_SUSPECT = re.compile(r"(logit|lm_head|output|mup).*(scal|mult|cap|temper|factor)|^dim_model_base$|^mup")
_ELSEWHERE = re.compile(r"attn|attention|router|gate|expert|init|contrastive|audio|vision|image|mlp|mamba|ssm|rope")


def scale_and_cap(model: Any) -> tuple[float, float | None]:
    """Return the factor by which a model multiplies the output of its layer, and the cap applied afterwards (None: no
    cap).

    Raises:
        UserError: if a configuration key seems to change the logits and the model's class is not known.
    """
    name, configs = type(model).__name__, list(_configs(model.config))
    known = _RULES.get(name)
    if known is not None:
        key, how = known
        value = next((getattr(config, key) for config in configs if getattr(config, key, None) is not None), None)
        if value is None:
            return 1.0, None
        return (1.0, float(value)) if how == "cap" else (float(value) if how == "times" else 1.0 / float(value), None)
    family = getattr(model.config, "model_type", None)
    doubtful = {
        key: value
        for config in configs
        for key, value in vars(config).items()
        if _SUSPECT.search(key) and not _ELSEWHERE.search(key)
        if isinstance(value, int | float) and value not in (0, 1)
    }
    if doubtful or family in _SCALED_BEFORE:
        said = ", ".join(f"{key} = {value!r}" for key, value in doubtful.items()) or f"its family, {family}"
        raise UserError(
            f"head: {name} may scale or cap its logits ({said}) in an unknown way; compare its logits with its "
            "layer's output, and pass overlap.Head(weight, bias, scale=…, softcap=…)"
        )
    return 1.0, None


def parameters_before_layer(model: nn.Module, layer: nn.Module) -> list[str]:
    """Return names of a model's parameters that belong neither to its output layer nor to a complete model inside it.

    Such parameters transform the last hidden states before the layer, such as the dense layer and the norm of BERT's
    heads. The layer's input is then not ``last_hidden_state``.

    Args:
        model: the complete model, wrapped or not.
        layer: its output layer.

    Returns:
        The names within the model; empty if the base model cannot be found or the layer is not among its modules.
    """
    path = next((name for name, module in model.named_modules() if module is layer), None)
    if path is None:
        return []
    own = {id(parameter) for parameter in layer.parameters()}
    steps = path.split(".")
    for depth in reversed(range(len(steps))):
        prefix = ".".join(steps[:depth])
        module = model.get_submodule(prefix)
        is_model = hasattr(module, "get_output_embeddings")
        base = getattr(module, "base_model", module) if is_model else None
        if base is module:
            return []
        if base is not None:  # complete models beside it (a codec, another encoder) are not a transform either
            models = [base, *(one for one in module.children() if hasattr(one, "get_output_embeddings"))]
            own |= {id(parameter) for one in models for parameter in one.parameters()}
        found = [f"{prefix}.{name}".lstrip(".") for name, one in module.named_parameters() if id(one) not in own]
        if found or is_model:
            return found
    return []


def _configs(config: Any) -> Iterator[Any]:
    """Yield the configuration of the text decoder first, then that of the whole model."""
    if hasattr(config, "get_text_config"):
        yield config.get_text_config(decoder=True)
    yield config
