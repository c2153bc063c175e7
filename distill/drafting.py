"""Drafts a commented recipe for two models and two manifests, with sizes from the audio and the models."""

from __future__ import annotations

import math
import tomllib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

from overlap.arguments import callers_level, checked_arguments
from overlap.estimates.bootstrap import unseen_share
from overlap.estimates.first_reading import ENOUGH_ENDS
from overlap.gates import READINESS, Threshold
from overlap.gates.opening import LEVEL, fewest_utterances

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
TEACHERS_END = READINESS["any/switch/student_end_likely.at_end"]
LOOPS, ENDS = READINESS["any/collapse/repetition"], READINESS["any/collapse/end_of_text"]
EMPTY, USED = READINESS["any/collapse/empty"], READINESS["any/comparable/used"]
ENOUGH = math.ceil(ENOUGH_ENDS / END.level)
"""Utterances with enough ends of the teacher for a gate on their share, if as many of its transcripts end as must."""
PATIENCE = 5
"""Readings in a row that a collapse in teacher data takes: about half of the stage's probes."""
SHOWN = int(fewest_utterances(Threshold(END.statistic, at_least=END.level)))
"""Fewest utterances that can show that enough transcripts end."""
PROBED = 100
"""Most utterances of the test set that are probed."""
LARGE_VOCABULARY = 10_000
"""Smallest vocabulary for k = 32; below, k is 8."""

WIDTH = 118
"""Longest line of a long comment."""

WINDOW = 30
"""Seconds of Whisper's full window."""


class SmallProbeWarning(UserWarning):
    """A test set that is too small for gates to read all that they should."""


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
    def probed(self) -> int:
        """Utterances of the probe."""
        return min(len(self.test), PROBED)

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
        The TOML text. If the test set is too small for its gates, a `SmallProbeWarning` and a comment say so.

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
    if doubts := _doubts(facts):
        warnings.warn(f"{test}: {' '.join(doubts)}", SmallProbeWarning, stacklevel=callers_level())
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
    lines += [
        "[support]",
        f"k = {32 if vocabulary >= LARGE_VOCABULARY else 8}  # tokens in a set, of a vocabulary of {vocabulary:,}",
        "",
        "# Overlap, which gates read; here on the first utterances of the test set. A separate set is better.",
        "[probe]",
        f"manifest = {in_toml(places['test'])}",
        f"max_utterances = {facts.probed}",
        f"every = {_probe_every(facts)}",
        f"batch_size = {_evaluation_batch(facts)}",
        "",
        "[evaluation]",
        f"manifest = {in_toml(places['test'])}",
        'normalizer = "basic"  # others are in the reference; with the extra `text`: whisper_english, mandarin',
        f"batch_size = {_evaluation_batch(facts)}",
        f"# max_new_tokens = {token_limit(facts.test)}  # computed from the longest audio, here and in the stages",
        "",
        "# A fall back within teacher data returns to a checkpoint that was probed: these are at every second probe.",
        "[checkpoint]",
        f"every = {2 * _probe_every(facts)}",
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
    if base:
        base += [
            "# Only guards: the run stops if transcripts do not end, or are empty, at three probes in a row.",
            "[stages.gate]",
            'type = "collapse"',
            f"# {ENDS.name}, {EMPTY.name}",
            f'limits = {{ end_of_text = [{ENDS.level}, "off"], empty = ["off", {EMPTY.level}] }}',
            'action = "abort"',
            "patience = 3",
            "",
        ]
    collapse = [
        f"# {ENDS.name}, {LOOPS.name}, {EMPTY.name}",
        f'limits = {{ end_of_text = [{ENDS.level}, "off"], repetition = ["off", {LOOPS.level}], '
        f'empty = ["off", {EMPTY.level}] }}',
        "",
    ]
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
        "# Read first: overlap opens nothing where transcripts do not end, or where little of them is compared.",
        "[[stages.gate.gates]]",
        'type = "precondition"',
        *(f"# {line}" for doubt in _doubts(facts) for line in wrap(doubt, WIDTH)),
        "conditions = [",
        *(f"    {line}" for line in _conditions(facts)),
        "]",
        f"# {AGREEMENT.name} of overlap.gates.READINESS, as `distill probe` judges it",
        f'then = {{ type = "threshold", statistic = "top1_agreement.without_repeats", at_least = {AGREEMENT.level} }}',
        "",
        "[[stages.gate.gates]]",
        'type = "collapse"',
        "# Patient: while the student learns the teacher's form, its transcripts may not end for a while.",
        f"patience = {PATIENCE}",
        *collapse,
        "# The teacher scores the student's rollouts.",
        *stage("opd", "on-policy", 4),
        "# A step whose rollouts mostly do not end or repeat themselves is taken on the teacher's transcripts.",
        "[stages.reject]",
        "",
        "# Falls back to teacher data if the student's transcripts do not end, begin to loop or are empty.",
        "[stages.gate]",
        'type = "collapse"',
        *collapse,
    ]


def _conditions(facts: _Facts) -> list[str]:
    """Return what must hold before overlap is read, as lines of TOML."""
    level = f"at_least = {END.level}"
    if facts.probed < SHOWN:  # all of so few is the most that they can show; a share of them would show less still
        level = f'at_least = 1.0, on = "value", min_utterances = {facts.probed}'
    lines = [f"# {END.name}", f'{{ type = "threshold", statistic = "{END.reading}", {level} }},']
    level = f'at_least = {USED.level}, on = "value"'
    lines += [f"# {USED.name}", f'{{ type = "threshold", statistic = "{USED.reading}", {level} }},']
    if facts.probed >= ENOUGH:
        level = f'at_least = {TEACHERS_END.level}, on = "value", min_utterances = {ENOUGH_ENDS}'
        lines += [f"# {TEACHERS_END.name}", f'{{ type = "threshold", statistic = "{TEACHERS_END.reading}", {level} }},']
    return lines


def _doubts(facts: _Facts) -> list[str]:
    """Return what the conditions lack because the probe is small, a sentence each."""
    n, found = facts.probed, []
    if n < SHOWN:
        least = 1 - unseen_share(n, n, LEVEL)
        found.append(
            f"{n} utterances cannot show that {100 * END.level:g} % of transcripts end: even if all do, the interval "
            f"begins at {least:.2f}. So all must end, which is weak evidence; for more than a trial, probe {SHOWN}."
        )
    if n < ENOUGH:
        found.append(
            f"Whether the student ends where the teacher does ({TEACHERS_END.reading}) is not read; it takes "
            f"{ENOUGH_ENDS} ends, so about {ENOUGH} utterances."
        )
    return found


def _rounded(number: float) -> str:
    """Return three digits of a small number, all before the point of a large one; never an exponent."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _probe_every(facts: _Facts) -> int:
    """Return steps between probes, in tens: about a tenth of the steps of teacher data."""
    return min(400, max(10, round(4 * len(facts.train) / BATCH / 100) * 10))


def _steps(facts: _Facts, epochs: int) -> int:
    """Return steps of some epochs of the training set, from 50 to 4,000, so that a stage ends with a probe: then probes
    of the next one are at checkpoints, which count the steps of the run."""
    every = _probe_every(facts)
    return min(4000, max(50, round(epochs * len(facts.train) / BATCH / every) * every))


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
