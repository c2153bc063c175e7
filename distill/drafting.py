"""Drafts a commented recipe for two models and two manifests, with sizes from the audio and the models."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from overlap.arguments import checked_arguments
from overlap.gates import READINESS, Threshold
from overlap.gates.opening import fewest_utterances

from .checking.memory import memory_bytes, training_memory
from .data.audio import duration
from .data.manifest import Utterance, require_text
from .data.sources import read_utterances
from .limits import token_limit
from .locations import DATASET, PACKAGED, require_places
from .models.model_size import Shape, shape_of
from .recipe.loading import recipe_of
from .recipe.toml import in_toml

BATCH = 16
AGREEMENT, END = READINESS["any/switch/top1_agreement"], READINESS["any/switch/end_of_text"]
LOOPS, ENDS = READINESS["any/collapse/repetition"], READINESS["any/collapse/end_of_text"]
PROBED = 100
"""Most utterances of the test set that are probed."""
LARGE_VOCABULARY = 10_000
"""Smallest vocabulary for k = 32; below, k is 8."""

WINDOW = 30
"""Seconds of Whisper's full window."""


@dataclass(frozen=True)
class _Facts:
    """What a draft is made from."""

    student: Shape
    teacher: Shape
    train: Sequence[Utterance]
    test: Sequence[Utterance]
    longest: float
    """Seconds; 0 without audio."""
    micro_batch: int
    """Utterances whose training fits into memory together, by a rough estimate."""

    @property
    def labeled(self) -> bool:
        """Whether every training utterance has a text."""
        return all(utterance.text is not None for utterance in self.train)


@checked_arguments
def draft_recipe(
    student: str,
    teacher: str,
    train: str,
    test: str,
    *,
    folder: str | Path = ".",
    name: str = "run",
    trust_remote_code: bool = False,
) -> str:
    """Write a recipe that runs without changes, as a starting point.

    Args:
        student: Directory or Hub name of the model to train, or `demo:student`.
        teacher: Of the model that it learns from.
        train: Manifest of training audio; with a text on every line, the recipe begins with supervised training.
        test: Manifest with texts, for error rates and overlap.
        folder: Where the recipe will stand, for relative paths.
        name: Name of the recipe.
        trust_remote_code: Run Python code of the checkpoints.

    Returns:
        The TOML text.

    Raises:
        FileNotFoundError, ManifestError, AudioError, ModelError: What cannot be read, with the remedy.
    """
    models = {"student": student, "teacher": teacher}
    require_places(manifests={"train": train, "test": test}, models=models)
    trained, tested = read_utterances(train), read_utterances(test)
    require_text(tested, "the test set")
    shapes = [shape_of(model, trust_remote_code=trust_remote_code) for model in models.values()]
    known = [duration(utterance) for utterance in (*trained, *tested) if utterance.audio is not None]
    longest = max(known, default=0.0)
    micro_batch = _largest_micro_batch(shapes[0], shapes[1], longest, token_limit((*trained, *tested)))
    facts = _Facts(shapes[0], shapes[1], trained, tested, longest, micro_batch)
    places = {key: _relative(place, Path(folder)) for key, place in {**models, "train": train, "test": test}.items()}
    text = "\n".join([*_top(facts, places, name, trust_remote_code), *_stages(facts, places["train"])])
    recipe_of(tomllib.loads(text))
    return text


def _top(facts: _Facts, places: dict[str, str], name: str, trusted: bool) -> list[str]:
    student, teacher = facts.student, facts.teacher
    code = ["trust_remote_code = true"] if trusted else []
    lines = [
        "# All fields with their defaults: `python -m distill.recipe`. Try it first: `distill check RECIPE`.",
        f"name = {in_toml(name)}",
        "seed = 0",
        "",
        f"# {student.family}, {student.parameters / 1e6:,.1f} million parameters",
        "[student]",
        f"model = {in_toml(places['student'])}",
        *_window(student, facts.longest),
        *code,
        "",
        f"# {teacher.family}, {teacher.parameters / 1e6:,.1f} million parameters",
        "[teacher]",
        f"model = {in_toml(places['teacher'])}",
        *_window(teacher, facts.longest),
        *code,
        "",
    ]
    if facts.longest:
        lines += [
            "[audio]",
            f"max_seconds = {float(math.ceil(facts.longest))}  # the longest utterance has {_rounded(facts.longest)} s",
            "",
        ]
    vocabulary = min(student.vocabulary, teacher.vocabulary)
    probed = min(len(facts.test), PROBED)
    lines += [
        "[support]",
        f"k = {32 if vocabulary >= LARGE_VOCABULARY else 8}  # tokens in a set, of a vocabulary of {vocabulary:,}",
        "",
        "# Overlap, which gates read; here on the first utterances of the test set. A separate set is better.",
        "[probe]",
        f"manifest = {in_toml(places['test'])}",
        f"max_utterances = {probed}",
        f"every = {max(10, _steps(facts, 4) // 10)}",
        f"batch_size = {_evaluation_batch(facts)}",
        "",
        "[evaluation]",
        f"manifest = {in_toml(places['test'])}",
        'normalizer = "basic"  # others are in the reference; with the extra `text`: whisper_english, mandarin',
        f"batch_size = {_evaluation_batch(facts)}",
        f"# max_new_tokens = {token_limit(facts.test)}  # computed from the longest audio, here and in the stages",
        "",
        "[checkpoint]",
        f"every = {max(50, _steps(facts, 4) // 4)}",
        "",
    ]
    return lines


def _stages(facts: _Facts, train: str) -> list[str]:
    rate = 1e-3 if facts.student.parameters < 10e6 else 1e-4 if facts.student.parameters < 100e6 else 1e-5
    micro = (
        [f"micro_batch_size = {facts.micro_batch}  # a rough estimate of what fits into memory"]
        if facts.micro_batch < BATCH
        else []
    )

    def stage(kind: str, name: str, epochs: int, *more: str) -> list[str]:
        steps, n = _steps(facts, epochs), len(facts.train)
        return [
            "[[stages]]",
            f'type = "{kind}"',
            f'name = "{name}"',
            f"manifest = {in_toml(train)}",
            f"steps = {steps}  # about {_rounded(steps * BATCH / n)} times through {n:,} utterances",
            f"batch_size = {BATCH}",
            *micro,
            f"lr = {rate}  # a guess from the student's size; worth a search",
            f"warmup_steps = {min(50, steps // 10)}",
            *more,
            "",
        ]

    base = stage("sft", "base", 2) if facts.labeled else []
    return [
        "# Supervised training on the manifest's texts."
        if base
        else "# Not every line has a text, so there is no supervised stage.",
        *base,
        "# Training on the teacher's transcripts, until the overlap is high enough for on-policy training.",
        *stage("td", "teacher data", 4, 'schedule = "constant"'),
        "[stages.gate]",
        'type = "any"',
        "",
        "# The end of text is read first: overlap opens nothing where transcripts do not end.",
        "[[stages.gate.gates]]",
        'type = "precondition"',
        "conditions = [",
        f"    # {END.name}",
        f'    {{ type = "threshold", statistic = "end_of_text", at_least = {END.level}{_on_value(facts)} }},',
        "]",
        f"# {AGREEMENT.name} of overlap.gates.READINESS, as `distill probe` judges it",
        f'then = {{ type = "threshold", statistic = "top1_agreement.without_repeats", at_least = {AGREEMENT.level} }}',
        "",
        f"# {ENDS.name}, {LOOPS.name}",
        "[[stages.gate.gates]]",
        'type = "collapse"',
        f'limits = {{ end_of_text = [{ENDS.level}, "off"], repetition = ["off", {LOOPS.level}] }}',
        "",
        "# The teacher scores the student's rollouts.",
        *stage("opd", "on-policy", 4),
        "# A step whose rollouts mostly do not end or repeat themselves is taken on the teacher's transcripts.",
        "[stages.reject]",
        "",
        "# Falls back to teacher data if the student's transcripts do not end or begin to loop.",
        "[stages.gate]",
        'type = "collapse"',
        f"# {ENDS.name}, {LOOPS.name}",
        f'limits = {{ end_of_text = [{ENDS.level}, "off"], repetition = ["off", {LOOPS.level}] }}',
        "",
    ]


def _on_value(facts: _Facts) -> str:
    """Return what a threshold on the end of text needs besides its level: the value, if the probe is small."""
    gate = Threshold(END.statistic, at_least=END.level)
    return "" if min(len(facts.test), PROBED) >= fewest_utterances(gate) else ', on = "value"'


def _rounded(number: float) -> str:
    """Return three digits of a small number, all before the point of a large one; never an exponent."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _steps(facts: _Facts, epochs: int) -> int:
    """Return steps of some epochs of the training set, in tens, from 50 to 4,000."""
    return min(4000, max(50, round(epochs * len(facts.train) / BATCH / 10) * 10))


def _evaluation_batch(facts: _Facts) -> int:
    return min(32, 2 * facts.micro_batch)


def _window(shape: Shape, longest: float) -> list[str]:
    if shape.family != "whisper" or not 0 < math.ceil(longest) < WINDOW:
        return []
    return [f"window_seconds = {math.ceil(longest)}  # instead of {WINDOW}, to save computation"]


def _largest_micro_batch(student: Shape, teacher: Shape, longest: float, tokens: int) -> int:
    """Return utterances, at most a batch, whose training probably fits into this machine's memory at once."""
    need = training_memory(student, teacher, longest, tokens)
    return int(min(BATCH, max(1, (0.7 * memory_bytes() - need.fixed) // need.per_utterance)))


def _relative(place: str, folder: Path) -> str:
    """Return a location as seen from a folder: relative below it, else absolute; Hub names are unchanged."""
    path = Path(place).expanduser()
    if place.startswith((PACKAGED, DATASET)) or not path.exists():
        return place
    path, folder = path.absolute(), folder.absolute()
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
