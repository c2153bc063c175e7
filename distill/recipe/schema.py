"""The recipe: what to train, on what, through which stages, under which gates. Defaults are vetted choices."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from .section import Count, NonNegative, Positive, Section
from .stages import StageConfig


class Model(Section):
    """A recogniser: a directory or Hub name that `from_pretrained` accepts."""

    model: str
    revision: str | None = None
    from_scratch: bool = False
    """Use the configuration only and draw the weights at random from the recipe's seed."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    family: str | None = None
    """Adapter name; None picks it from the checkpoint's configuration."""


class Audio(Section):
    """How audio is read."""

    max_seconds: Positive = 30.0
    """Longer utterances are refused, never cut."""
    cache_mib: NonNegative = 512.0


class Support(Section):
    """The top-k sets that statistics and objective compare."""

    k: PositiveInt = 32
    temperature: Positive = 1.0


class Probe(Section):
    """Overlap on a fixed held-out set during training."""

    manifest: str
    every: PositiveInt = 50
    batch_size: PositiveInt = 32
    max_utterances: PositiveInt | None = None
    states: tuple[Literal["student", "fixed", "teacher", "reference"], ...] = ("student", "fixed", "teacher")
    """Whose transcripts the statistics are taken on; `fixed` are the rollouts recorded as supervised training ended."""
    trace_utterances: Count = 16
    """Utterances whose positions are written to `traces/` at the end of each stage."""


class Evaluation(Section):
    """Word and character error rates at the end of each stage."""

    manifest: str
    name: str = "test"
    normaliser: str = "basic"
    batch_size: PositiveInt = 32
    max_new_tokens: PositiveInt = 256
    every: PositiveInt | None = None
    """Also evaluate every so many steps; None evaluates at the end of each stage only."""


class Checkpoints(Section):
    """When the run is saved. Stage entries are always saved and kept."""

    every: PositiveInt = 500
    keep: PositiveInt = 2


class Recipe(Section):
    """One run, whole."""

    name: str = "run"
    seed: int = 0
    student: Model
    teacher: Model | None = None
    audio: Audio = Audio()
    support: Support = Support()
    probe: Probe | None = None
    evaluation: Evaluation | None = None
    checkpoint: Checkpoints = Checkpoints()
    stages: Annotated[tuple[StageConfig, ...], Field(min_length=1)]
    total_steps: PositiveInt | None = None
    """End the run after so many steps, whatever the stages have left: equal budgets for compared recipes."""
    max_fallbacks: Count = 1
    precision: Literal["no", "bf16", "fp16"] = "no"
    threads: PositiveInt | None = None
    """CPU threads of torch; None leaves the default. Bit-exact resumption needs the same number."""

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"stages must have different names, got {names}")
        for i, stage in enumerate(self.stages):
            if stage.type in ("td", "opd") and self.teacher is None:
                raise ValueError(f"stages.{i} ({stage.type}) needs a teacher: add a [teacher] table with its model")
            if stage.gate is not None and stage.gate.type != "fixed_steps" and self.probe is None:
                raise ValueError(f"stages.{i}.gate reads probes: add a [probe] table with a manifest")
        if self.probe is not None and self.teacher is None:
            raise ValueError("[probe] measures overlap with a teacher: add a [teacher] table, or remove [probe]")
        return self
