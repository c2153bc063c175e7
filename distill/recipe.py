"""The recipe: what to train, on what, through which stages, under which gates.

A recipe is one TOML file. Unknown keys are refused with the nearest valid key; every default is what the shipped recipes
use unless they say otherwise. Relative paths are relative to the recipe file; `demo:` paths are inside the package.
"""

from __future__ import annotations

import difflib
import tomllib
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

import overlap

from .paths import resolve, shipped_recipe

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]


class RecipeError(ValueError):
    """A recipe that cannot be run; the message names the file, the dotted key and the remedy."""


class Section(BaseModel):
    """A frozen part of a recipe that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- models and data ---------------------------------------------------------------------------------------------------


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


class Decoding(Section):
    """How a model writes a transcript."""

    sample: bool = False
    temperature: Positive = 1.0
    max_new_tokens: PositiveInt = 256


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
    """Whose transcripts the statistics are taken on; `fixed` are the rollouts recorded when supervised training ended."""
    trace_utterances: Annotated[int, Field(ge=0)] = 16
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


# --- gates -------------------------------------------------------------------------------------------------------------


class FixedStepsGate(Section):
    """Advance after a fixed number of steps, whatever the overlap (the way of arXiv 2605.28139)."""

    type: Literal["fixed_steps"]
    steps: PositiveInt

    def build(self) -> overlap.Gate:
        """The gate object."""
        return overlap.FixedSteps(self.steps)


class ThresholdGate(Section):
    """Advance when the conservative end of a statistic's interval has passed a level."""

    type: Literal["threshold"]
    statistic: str
    at_least: float | None = None
    at_most: float | None = None
    on: Literal["bound", "value"] = "bound"
    patience: PositiveInt = 1
    release: float | None = None
    min_steps: Annotated[int, Field(ge=0)] = 0

    def build(self) -> overlap.Gate:
        """The gate object."""
        return overlap.Threshold(**self.model_dump(exclude={"type"}))


class PlateauGate(Section):
    """Advance when a statistic has stopped improving."""

    type: Literal["plateau"]
    statistic: str
    min_delta: NonNegative = 0.0
    patience: PositiveInt = 3
    mode: Literal["max", "min"] = "max"
    min_steps: Annotated[int, Field(ge=0)] = 0

    def build(self) -> overlap.Gate:
        """The gate object."""
        return overlap.Plateau(**self.model_dump(exclude={"type"}))


class CollapseGate(Section):
    """Fall back or abort when a statistic has certainly left its healthy range."""

    type: Literal["collapse"]
    limits: dict[str, tuple[float | None, float | None]]
    patience: PositiveInt = 1
    action: Literal["fall_back", "abort"] = "fall_back"

    def build(self) -> overlap.Gate:
        """The gate object."""
        return overlap.Collapse(**self.model_dump(exclude={"type"}))


class AllGate(Section):
    """Advance when every member advances."""

    type: Literal["all"]
    gates: tuple[GateConfig, ...]

    def build(self) -> overlap.Gate:
        """The gate object."""
        return overlap.All(*(gate.build() for gate in self.gates))


class AnyGate(Section):
    """Advance when one member advances."""

    type: Literal["any"]
    gates: tuple[GateConfig, ...]

    def build(self) -> overlap.Gate:
        """The gate object."""
        return overlap.Any(*(gate.build() for gate in self.gates))


GateConfig = Annotated[
    FixedStepsGate | ThresholdGate | PlateauGate | CollapseGate | AllGate | AnyGate, Field(discriminator="type")
]


# --- stages ------------------------------------------------------------------------------------------------------------


class Curriculum(Section):
    """Begin with the shortest utterances and admit longer ones linearly over `steps`."""

    steps: PositiveInt
    start_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1


class StageBase(Section):
    """What every stage has: data, optimisation settings and a gate of its own."""

    name: str
    manifest: str
    steps: PositiveInt
    """Most steps the stage may take."""
    batch_size: PositiveInt = 16
    """Utterances a step, over all processes together."""
    lr: Positive = 1e-5
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    weight_decay: NonNegative = 0.0
    betas: tuple[Probability, Probability] = (0.9, 0.95)
    clip: Positive = 1.0
    gate: GateConfig | None = None
    """None is a fixed-steps gate at `steps`."""
    when_exhausted: Literal["advance", "stop"] = "stop"
    """What to do when `steps` are spent and the gate has not advanced: go on all the same, or end the run there."""


class SupervisedStage(StageBase):
    """Cross-entropy on reference transcripts (Base)."""

    type: Literal["sft"]
    curriculum: Curriculum | None = None


class TeacherDataStage(StageBase):
    """Cross-entropy on the teacher's transcripts of the stage's audio."""

    type: Literal["td"]
    transcription: Decoding = Decoding()


class OnPolicyStage(StageBase):
    """KL on the union support at the states of the student's own rollouts."""

    type: Literal["opd"]
    rollout: Decoding = Decoding()
    empty_rollout: Literal["score", "drop"] = "score"
    """An empty rollout has one position, the immediate end of text: score it (the teacher can object) or drop it."""
    mask_truncated: bool = False
    """Leave out every position of a rollout that ran into `max_new_tokens`."""


StageConfig = Annotated[SupervisedStage | TeacherDataStage | OnPolicyStage, Field(discriminator="type")]


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
    max_fallbacks: Annotated[int, Field(ge=0)] = 1
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


# --- reading -----------------------------------------------------------------------------------------------------------


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read, override and validate a recipe; its paths come back absolute.

    Args:
        path: A TOML file, or the name of a shipped recipe such as `demo`.
        overrides: `dotted.key=value` assignments, the value in TOML syntax (bare words are strings); list items by
            index, for instance `stages.1.lr=1e-6`.

    Raises:
        RecipeError: Missing file, malformed TOML, unknown key (with the nearest valid one), invalid value.
    """
    path = shipped_recipe(str(path)) or Path(path)
    if not path.is_file():
        raise RecipeError(f"recipe not found: {path}. Give a TOML file or the name of a shipped recipe.")
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from error
    for assignment in overrides:
        _assign(data, assignment)
    try:
        return resolve_paths(Recipe.model_validate(data), path.parent)
    except ValidationError as error:
        raise RecipeError(f"{path}: {_explain(error)}") from error


def resolve_paths(recipe: Recipe, base: Path) -> Recipe:
    """The same recipe with manifests and local model directories as absolute paths."""

    def model(section: Model) -> Model:
        return section.model_copy(update={"model": resolve(section.model, base, must_exist=False)})

    def manifest(section: Any) -> Any:
        return section.model_copy(update={"manifest": resolve(section.manifest, base)})

    return recipe.model_copy(
        update={
            "student": model(recipe.student),
            "teacher": model(recipe.teacher) if recipe.teacher else None,
            "probe": manifest(recipe.probe) if recipe.probe else None,
            "evaluation": manifest(recipe.evaluation) if recipe.evaluation else None,
            "stages": tuple(manifest(stage) for stage in recipe.stages),
        }
    )


def _assign(data: dict[str, Any], assignment: str) -> None:
    key, separator, raw = assignment.partition("=")
    if not separator or not key.strip():
        raise RecipeError(f"--set {assignment!r}: expected dotted.key=value, for instance stages.1.lr=1e-6")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw.strip()
    parts = key.strip().split(".")
    node: Any = data
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                where = ".".join(parts[:depth])
                raise RecipeError(f"--set {key}: {where} has items 0 to {len(node) - 1}, not {part!r}")
            part = int(part)
        elif not isinstance(node, dict):
            raise RecipeError(f"--set {key}: {'.'.join(parts[:depth])} is a value, not a table")
        elif not last and part not in node:
            node[part] = {}
        if last:
            node[part] = value
        else:
            node = node[part]


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        # Pydantic puts the chosen tag of a union in the location; it is no key of the file.
        location = [str(part) for part in problem["loc"] if not (isinstance(part, str) and part in _TAGS)]
        dotted = ".".join(location) or "recipe"
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(location[-1], _known_keys(problem["loc"]), n=1, cutoff=0.4)
            hint = f"; did you mean {'.'.join([*location[:-1], near[0]])}?" if near else ""
            lines.append(f"unknown key {dotted}{hint}")
        else:
            lines.append(f"{dotted}: {problem['msg']}")
    return "\n  ".join(lines)


_TAGS = {"sft", "td", "opd", "fixed_steps", "threshold", "plateau", "collapse", "all", "any"}


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Valid keys at a place of the recipe, found by walking the models' fields (union members by their tag)."""
    candidates: list[Any] = [Recipe]
    for part in location[:-1]:
        following: list[Any] = []
        for model in candidates:
            if isinstance(part, str) and part in _TAGS:
                tag = model.model_fields.get("type")
                following += [model] if tag is not None and part in typing.get_args(tag.annotation) else []
            elif isinstance(part, int):
                following.append(model)
            elif part in model.model_fields:
                following += _sections(model.model_fields[part].annotation)
        candidates = following
    return sorted({key for model in candidates for key in model.model_fields})


def _sections(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for inner in typing.get_args(annotation) for section in _sections(inner)]
