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
    """Directory, relative to the recipe, `demo:teacher` or `demo:student`, or a name on the Hub."""
    revision: str | None = None
    """Branch, tag or commit on the Hub; None takes the main branch."""
    from_scratch: bool = False
    """Use the configuration only and draw the weights at random from the recipe's seed."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the weights; a student that is trained whole has float32."""
    family: str | None = None
    """Adapter name; None picks it from the checkpoint's configuration: `text` for causal language models."""
    trust_remote_code: bool = False
    """Run Python code that the checkpoint brings, as Ark-ASR's does. Read it first: it may do all that you may."""
    end_of_text: str | None = None
    """The token that ends a text, where the checkpoint's own choice is not wanted; not for encoder-decoders."""
    prompt_format: Literal["auto", "chat", "plain"] | None = None
    """How a text model reads prompts that are strings: wrapped in its chat template, or as they are; `auto`, the
    default, wraps them where the tokenizer has a template (those of base models often have one too)."""
    chat_template_kwargs: dict[str, Any] | None = None
    """Further variables of a text model's chat template, such as `{ enable_thinking = false }`."""
    timestamps: bool | None = None
    """Points in time in the transcripts, as in `<|0.00|> call four<|2.00|>`, which labels then hold: they are learned,
    written and compared like other tokens and left out of what is scored; Whisper only, student and teacher alike."""
    window_seconds: PositiveInt | None = None
    """A shorter audio window than the checkpoint's, cheaper for short utterances; Whisper only."""
    keep_decoder_layers: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None
    """Cut the text decoder down to these layers: a student that needs teaching before it writes sense."""
    freeze_encoder: bool = False
    """Train the text side alone (students; a teacher is never trained)."""
    encoder_cache_mib: NonNegative = 1024.0
    """Memory for what a frozen encoder made of utterances, which training comes back to; Whisper and Moonshine."""

    @property
    def options(self) -> dict[str, Any]:
        """Settings of the family's adapter that were made."""
        names = ("end_of_text", "prompt_format", "chat_template_kwargs", "timestamps")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class Student(Model):
    """Who learns."""

    gradient_checkpointing: bool = False
    """Compute activations of each layer again in the backward pass instead of keeping them: about a third slower, and
    memory for longer audio or larger batches."""
    lora: Lora | None = None
    """Train low-rank adapters alone."""

    @model_validator(mode="after")
    def _updates_do_not_vanish(self) -> Student:
        if self.lora is None and self.dtype != "float32":
            raise UserError(
                f'dtype = "{self.dtype}": its weights are too coarse for updates of common learning rates, which would '
                'vanish. For arithmetic in half precision set precision = "bf16" at the top of the recipe and leave '
                "dtype out; or train [student.lora], whose adapters are float32"
            )
        if self.lora is not None and self.from_scratch:
            raise UserError(
                "lora: adapters change trained weights a little, and from_scratch draws them at random; remove one"
            )
        return self


class Teacher(Model):
    """The recognizer that is learned from: here, or behind a server at `url`."""

    device: str | None = None
    """Where its weights are, such as "cpu" or "cuda:1"; None puts them beside the student's."""
    quantize: Literal["int8"] | None = None
    """Weights of linear layers in 8 bits, a scale each row, through torchao; None leaves them as `dtype` says."""
    url: str | None = None
    """Of a server that returns log-probabilities of prompts; `model` then names the tokenizer, no weights are read. A
    password or query in it is sent with each request, and shown nowhere but in the run's own `resolved.json`."""
    server: Server = Server()
    """How it is asked."""

    @model_validator(mode="after")
    def _either_here_or_there(self) -> Teacher:
        if self.quantize is not None and self.from_scratch:
            raise UserError("quantize: there are no weights to read with from_scratch = true; remove one of them")
        if self.url is None:
            if self.server != Server():
                raise UserError("server: says how a server is asked; give its url as well, or remove the table")
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
                f"{', '.join(given)}: the server decides that; remove them, or remove url for a local teacher"
            )
        return self
