"""Loads checkpoints with the adapter of their family."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError, TemplateSyntaxError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    AutoModelForSpeechSeq2Seq,
    AutoProcessor,
    AutoTokenizer,
    TorchAoConfig,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils.hub import cached_file
from transformers.utils.peft_utils import find_adapter_config_file

from overlap.extras import MissingExtraError, require

from ..locations import located
from . import ark_asr, glm_asr, qwen3_asr, surgery, voxtral
from .base import ModelError, Recognizer
from .files import AGAIN, CHAT_TEMPLATE, check_ignored_files, damage, missing_files
from .moonshine import Moonshine
from .speech_lm import SpeechLM
from .surplus_weights import check_number_types
from .text_lm import TextLM
from .tokenizing import check_tokenizer
from .weights import IS_ADAPTER, load_weights
from .whisper import Whisper
from .zeroed_weights import check_zeros


@dataclass(frozen=True)
class Adapter:
    """How to load a family.

    Attributes:
        build: Makes the adapter from model and processor.
        architecture: The class of transformers that loads the weights.
        processor: The class that loads the processor, or only the tokenizer.
        options: Names of the adapter's own settings.
    """

    build: Callable[..., Recognizer]
    architecture: Any
    processor: Any = AutoProcessor
    options: frozenset[str] = frozenset()


TEXT = "text"
"""The family of causal language models without their own adapter."""

WHOLE = (
    "Give a directory with config.json, the weights and the files of tokenizer or processor, or a Hub name; original "
    "Qwen3-ASR repositories need their transformers version (names ending in -hf)."
)
_ADAPTER = "adapter_config.json"  # peft's
_END = frozenset({"end_of_text"})
FAMILIES: dict[str, Adapter] = {
    "arkasr": Adapter(partial(SpeechLM, kind=ark_asr.FAMILY), AutoModelForCausalLM, options=_END),
    "glmasr": Adapter(partial(SpeechLM, kind=glm_asr.FAMILY), AutoModelForMultimodalLM, options=_END),
    "moonshine": Adapter(Moonshine, AutoModelForSpeechSeq2Seq),
    "qwen3_asr": Adapter(partial(SpeechLM, kind=qwen3_asr.FAMILY), AutoModelForMultimodalLM, options=_END),
    TEXT: Adapter(TextLM, AutoModelForCausalLM, AutoTokenizer, _END | {"prompt_format", "chat_template_kwargs"}),
    "voxtral": Adapter(
        partial(SpeechLM, kind=voxtral.FAMILY), AutoModelForMultimodalLM, voxtral.Processor, options=_END
    ),
    "whisper": Adapter(Whisper, AutoModelForSpeechSeq2Seq, options=frozenset({"timestamps"})),
}
"""By `model_type`, and `text`."""


def load_recognizer(
    model: str,
    *,
    revision: str | None = None,
    from_scratch: bool = False,
    dtype: str = "float32",
    family: str | None = None,
    seed: int = 0,
    quantize: str | None = None,
    window_seconds: int | None = None,
    keep_decoder_layers: Sequence[int] | None = None,
    options: Mapping[str, Any] | None = None,
    trust_remote_code: bool = False,
    device: torch.device | str = "cpu",
) -> Recognizer:
    """Load a checkpoint and its processor in the adapter of its family.

    Args:
        model: Directory or Hub name, or `demo:teacher` or `demo:student`.
        revision: Hub revision.
        from_scratch: Read only the configuration and initialize the weights randomly.
        dtype: Weight type, a torch dtype's name.
        family: Adapter name; None takes it from the configuration's `model_type`, and `text` for language models.
        seed: Seed of random weights.
        quantize: `int8` reads the weights of linear layers, except the output layer's, in 8 bits: for models that are
            not trained.
        window_seconds: A shorter audio window (Whisper).
        keep_decoder_layers: Which layers of the text decoder to keep, all if None.
        options: The adapter's own settings, such as `end_of_text`.
        trust_remote_code: Run Python code of the checkpoint, as Ark-ASR needs; never run otherwise.
        device: Where the model goes.

    Raises:
        ModelError: Nothing loadable there, files that are damaged or missing, weights that do not fill the model, are
            not finite or were not downloaded completely, own code that is not trusted, a family without an adapter, or
            an unknown setting.
        FileNotFoundError: The embedded demo has no such model.
        MissingExtraError: Weights in 8 bits without torchao.
    """
    # Always passed: otherwise transformers asks at the terminal.
    place, source = located(model), {"revision": revision, "trust_remote_code": trust_remote_code}
    if (Path(place) / _ADAPTER).is_file():
        raise ModelError(_adapter_words(place))
    with loading(place, revision, "cannot load", WHOLE):
        config = AutoConfig.from_pretrained(place, **source)
        adapter = _adapter(model, config, family, options or {})
        check_settings(place, revision)
        processor = adapter.processor.from_pretrained(place, **source)
    weights = getattr(torch, dtype)
    quantization = {} if quantize is None else {"quantization_config": _eight_bits()}
    if from_scratch:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = adapter.architecture.from_config(config, dtype=weights, trust_remote_code=trust_remote_code)
    else:
        with loading(place, revision, "cannot load the weights of", WHOLE, tokenizer=False):
            network = load_weights(adapter.architecture, place, dtype=weights, **source, **quantization)
            check_number_types(place, config, _folder(place, revision))
        check_zeros(model, network, _folder(place, revision))
    check_tokenizer(model, getattr(processor, "tokenizer", processor), network)
    if window_seconds is not None:
        surgery.shorten_window(network, processor, window_seconds, model)
    if keep_decoder_layers is not None:
        surgery.keep_decoder_layers(network, keep_decoder_layers, model)
    network = network.to(device).eval()
    with loading(place, revision, "cannot use", WHOLE):
        return adapter.build(name=model, model=network, generator=network, processor=processor, **options or {})


def _adapter(model: str, config: Any, family: str | None, options: Mapping[str, Any]) -> Adapter:
    """Return the adapter of a checkpoint; refuses options that it does not have."""
    kind = adapter_of(model, config, family)
    adapter = FAMILIES[kind]
    for name in options:
        if name not in adapter.options:
            known = f"settings {sorted(adapter.options)}" if adapter.options else "no such settings"
            raise ModelError(f"{model!r}: a {kind!r} model has no setting {name}, only {known}; remove it")
    return adapter


def adapter_of(model: str, config: Any, family: str | None = None) -> str:
    """Return the name of the adapter for a checkpoint's configuration.

    Raises:
        ModelError: There is none.
    """
    kind = family or config.model_type
    if kind not in FAMILIES and family is None and _is_text(config):
        kind = TEXT
    if kind not in FAMILIES:
        raise ModelError(f"{model!r} is a {kind!r} model; there are adapters for {sorted(FAMILIES)}")
    return kind


def check_settings(model: str, revision: str | None) -> None:
    """Refuse damaged files that transformers would ignore silently.

    Args:
        model: Directory or Hub name, whose configuration has been read.
        revision: Hub revision.

    Raises:
        ModelError: There is one; names it, with the remedy.
    """
    if (folder := _folder(model, revision)) is not None:
        check_ignored_files(folder)


@contextmanager
def loading(
    model: str, revision: str | None, what: str, remedy: str, *, weights: bool = True, tokenizer: bool = True
) -> Iterator[None]:
    """Turn any error of a library about a checkpoint into one that names the file and the remedy.

    Args:
        model: Directory or Hub name.
        revision: Hub revision.
        what: First words of the message, what cannot be done.
        remedy: Used if no damaged file is found.
        weights: Also check files of weights.
        tokenizer: Also check files of tokenizer and processor.

    Raises:
        ModelError: Instead of any error except a missing extra or lack of memory.
    """
    try:
        yield
    except (ModelError, MissingExtraError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # tokenizers and safetensors raise their own kinds, derived directly from Exception
        raise ModelError(_reason(model, revision, what, remedy, error, weights, tokenizer)) from error


def _reason(
    model: str, revision: str | None, what: str, remedy: str, error: Exception, weights: bool, tokenizer: bool
) -> str:
    if "trust_remote_code" in str(error):
        return (
            f"{model!r} contains Python code, which would run with your permissions. Read it; then set "
            "trust_remote_code = true in the model's section of the recipe, or give --trust-remote-code"
        )
    if isinstance(error, ImportError):
        return f"{what} {model!r}: {_first_line(error)}"
    folder = _folder(model, revision)
    if isinstance(error, TemplateError):
        line = f" in line {error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
        own = folder is not None and (folder / CHAT_TEMPLATE).is_file()
        which = folder / CHAT_TEMPLATE if folder is not None and own else f"the chat template of {model!r}"
        return f"{what} {model!r}: {which} is cut short or damaged{line} ({_first_line(error)}); {AGAIN}"
    if folder is not None and (found := damage(folder, weights=weights)):
        return f"{what} {model!r}: {found}"
    processor = "preprocessor_config.json" in str(error)
    if tokenizer and Path(model).is_dir() and (found := missing_files(Path(model), processor=processor)):
        return f"{what} {model!r}: {found} ({_first_line(error)})"
    if _is_adapter_on_hub(model, revision):
        return f"{model!r} {IS_ADAPTER}"
    return f"{what} {model!r}: {_first_line(error)} {remedy}"


def _folder(model: str, revision: str | None) -> Path | None:
    """Return the folder of a checkpoint's files on this machine; None if there is none."""
    if Path(model).is_dir():
        return Path(model)
    try:
        found = cached_file(model, "config.json", revision=revision, local_files_only=True)
    except OSError:  # not a valid Hub name
        return None
    return None if found is None else Path(found).parent


def _is_adapter_on_hub(model: str, revision: str | None) -> bool:
    """Return whether a Hub name is that of an adapter."""
    try:
        return find_adapter_config_file(model, revision=revision) is not None
    except OSError:
        return False


def _adapter_words(model: str) -> str:
    merged = Path(model).absolute().parent
    if (merged / "config.json").is_file():  # as in a checkpoint of a run
        return f"{model!r} holds a LoRA adapter, not a model; give the merged model {str(merged)!r}"
    return f"{model!r} {IS_ADAPTER}"


def _eight_bits() -> Any:
    """Return Transformers' configuration for 8-bit weights with unquantized activations, on any device."""
    torchao: Any = require("torchao.quantization", extra="quantized", purpose='quantize = "int8"')
    return TorchAoConfig(torchao.Int8WeightOnlyConfig(set_inductor_config=False))


def _is_text(config: Any) -> bool:
    """Return whether this is a language model without audio; for one with audio, set the family `text` explicitly."""
    return config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not hasattr(config, "audio_config")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
