"""The models of a recipe: the student, and the teacher here or behind a server."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, model_validator

from overlap.errors import UserError

from .lora import Lora
from .section import Count, NonNegative, Section, Text
from .server import Server


class Model(Section):
    """A recognizer or text model: a directory or Hub name that `from_pretrained` accepts."""

    model: Text
    """A directory relative to the recipe, `demo:teacher`, `demo:student`, or a name on the Hub."""
    revision: str | None = None
    """Branch, tag or commit on the Hub; None takes the main branch."""
    from_scratch: bool = False
    """Use the configuration only and draw the weights at random from the recipe's seed."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the weights; a student without LoRA needs float32."""
    family: str | None = None
    """Model family; None picks it from the checkpoint's configuration, `text` for causal language models."""
    trust_remote_code: bool = False
    """Run Python code of the checkpoint, as Ark-ASR needs. Read that code first: it runs with your permissions."""
    end_of_text: str | None = None
    """The token that ends a text, instead of the checkpoint's own; not for encoder-decoders."""
    prompt_format: Literal["auto", "chat", "plain"] | None = None
    """How a text model reads string prompts: in its chat template, or unchanged. The default `auto` uses the template
    if the tokenizer has one (tokenizers of base models often do)."""
    chat_template_kwargs: dict[str, Any] | None = None
    """Further variables of a text model's chat template, such as `{ enable_thinking = false }`."""
    timestamps: bool | None = None
    """Transcripts with timestamps, such as `<|0.00|> call four<|2.00|>`; labels must then have them. They are trained
    and compared like other tokens, and removed before error rates. Whisper only; student and teacher must agree."""
    window_seconds: PositiveInt | None = None
    """A shorter audio window than the checkpoint's, faster for short utterances; Whisper only."""
    keep_decoder_layers: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None
    """Keep only these layers of the text decoder, which gives a smaller student that must be trained first."""
    freeze_encoder: bool = False
    """Train only the text decoder (students; a teacher is never trained)."""
    encoder_cache_mib: NonNegative = 1024.0
    """Memory for cached outputs of a frozen encoder; Whisper and Moonshine."""

    @property
    def options(self) -> dict[str, Any]:
        """Settings of the family that the recipe gives."""
        names = ("end_of_text", "prompt_format", "chat_template_kwargs", "timestamps")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class Student(Model):
    """The model that is trained."""

    gradient_checkpointing: bool = False
    """Recompute activations of each layer in the backward pass: about a third slower, with memory for longer audio or
    larger batches."""
    lora: Lora | None = None
    """Train only low-rank adapters."""

    @model_validator(mode="after")
    def _check_dtype_and_lora(self) -> Student:
        if self.lora is None and self.dtype != "float32":
            raise UserError(
                f'dtype = "{self.dtype}": its weights are too coarse for updates at common learning rates: these would '
                'be rounded away. For arithmetic in half precision set precision = "bf16" at the top of the recipe and '
                "leave dtype out; or train [student.lora], whose adapters are float32"
            )
        if self.lora is not None and self.from_scratch:
            raise UserError(
                "lora: adapters need trained weights, and from_scratch draws random ones; remove one of them"
            )
        return self


class Teacher(Model):
    """The teacher: a local model, or one behind a server at `url`."""

    device: str | None = None
    """Device of its weights, such as "cpu" or "cuda:1"; None uses the student's device."""
    quantize: Literal["int8"] | None = None
    """8-bit weights of linear layers with a scale per row, through torchao; None uses `dtype`."""
    url: str | None = None
    """URL of a server that returns log-probabilities of prompts; `model` then names the tokenizer, and no weights are
    read. A password or query in it is sent with each request, and written only to the run's own `resolved.json`."""
    server: Server = Server()
    """Settings of the server's requests."""

    @model_validator(mode="after")
    def _check_local_or_served(self) -> Teacher:
        if self.quantize is not None and self.from_scratch:
            raise UserError("quantize: there are no weights to read with from_scratch = true; remove one of them")
        if self.url is None:
            if self.server != Server():
                raise UserError(
                    "server: these are settings of a server's requests; give teacher.url as well, or remove the table"
                )
            return self
        # Compared with the defaults, since a recipe that is read back from a run names every field.
        local = (
            "from_scratch",
            "dtype",
            "window_seconds",
            "keep_decoder_layers",
            "freeze_encoder",
            "device",
            "quantize",
        )
        given = [name for name in local if getattr(self, name) != type(self).model_fields[name].default]
        if given:
            raise UserError(
                f"{', '.join(given)}: the server sets this; remove it here, or remove url for a local teacher"
            )
        return self
