"""Everything a run needs, loaded and checked before the first step, so that mistakes surface in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from overlap.definitions import Ranges

from ..data.audio import AudioCache
from ..data.batch import AudioSource, check_inputs
from ..data.checks import Use, check_models, check_source, without_text
from ..data.findings import Finding, errors, lines_of, refuse
from ..data.labels import plain_labels
from ..data.manifest import ManifestError, Utterance
from ..limits import settled, token_limit
from ..models import ModelError, Recogniser
from ..normalise import normaliser
from ..pair.loading import load_student, load_teacher
from ..pair.pair import Pair, PairError
from ..recipe import Evaluation, Recipe, StageConfig
from ..recipe.gates import NEEDS_INTERVALS, opens_without_intervals, statistics_read
from ..recipe.paths import require_files
from ..recipe.readings import out_of_reach
from ..run.checkpoint import lost
from ..teacher import ServedTeacher
from .augmentation import Augmentation, AugmentationError
from .heard import Heard, heard_before


@dataclass(frozen=True)
class Setup:
    """Models and data of a run; the pair is None without a teacher.

    `stages[i]` are the i-th stage's utterances, `augmentations[i]` is what it does to their audio. `heard` says which
    of the data the models were trained on before; `findings` says what is doubtful about its lines, and of those that
    were dropped why.
    """

    recipe: Recipe
    student: Recogniser
    pair: Pair | None
    source: AudioSource
    stages: tuple[tuple[Utterance, ...], ...]
    augmentations: tuple[Augmentation | None, ...]
    probe: tuple[Utterance, ...]
    evaluations: tuple[tuple[Utterance, ...], ...]
    heard: tuple[Heard, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def teacher(self) -> Recogniser | ServedTeacher | None:
        """The pair's teacher."""
        return self.pair and self.pair.teacher

    @property
    def tokenizers(self) -> dict[str, Any]:
        """What was found of each model's tokenizer, and which merges were put back, as `resolved.json` holds it."""
        models = {"student": self.student} | ({} if self.teacher is None else {"teacher": self.teacher})
        return {role: {"vocabulary": m.tokens.digest} | m.tokens.check.to_dict() for role, m in models.items()}


def prepare_run(recipe: Recipe, *, device: torch.device | str, weights: Path | None = None) -> Setup:
    """Read manifests, load models, and check that they fit.

    Args:
        recipe: With absolute paths.
        device: Where both models go.
        weights: A checkpoint of this run whose weights the student takes instead of the recipe's.

    Raises:
        FileNotFoundError, ManifestError, AudioError, AugmentationError, MissingExtraError, ModelError, PairError,
            ServerError: Whatever does not fit, with the remedy.
        CheckpointError: The weights of the checkpoint cannot be loaded; says where the run can go on.
        ValueError: What lies beside a model's weights about its training is damaged.
    """
    require_files(recipe)
    sets, findings = _read(recipe)
    n = len(recipe.stages)
    sets, textless = _with_text(recipe, sets)
    _check_intervals(recipe, sets[n], [*findings, *textless])
    for section in recipe.evaluations:
        normaliser(section.normaliser)
    sets = tuple(_usable(used, findings) for used in sets)

    augmentations = tuple(
        Augmentation.of(stage.augment, f"stages.{i}.augment") for i, stage in enumerate(recipe.stages)
    )

    student = _student(recipe, device, weights)
    pair = None
    if recipe.teacher:
        k = recipe.support.k
        pair = Pair.of(student, load_teacher(recipe.teacher, device, k=k, seed=recipe.seed), k)
        _check_levels(recipe, pair)
    both = (student,) if pair is None else (student, pair.teacher)
    for stage, utterances in zip((*recipe.stages, None, *(None for _ in recipe.evaluations)), sets, strict=True):
        check_inputs(utterances, *(both if stage is None or stage.type != "sft" else (student,)))
    _check_times(recipe, student, pair)
    sets, found = _with_plain_labels(recipe, sets, student)
    findings += found
    sets = tuple(_usable(used, findings) for used in sets)
    uses = _uses(recipe, sets, student, both)
    findings += [one for use in uses for one in check_models(use)]
    _refuse_unless_dropped(recipe, [*findings, *textless])
    sets = tuple(_usable(used, findings) for used in sets)
    findings += textless
    stages, probe_set, evaluations = sets[:n], sets[n], sets[n + 1 :]
    _check_intervals(recipe, probe_set, findings)
    if student.reads != "audio" and any(augmentations):
        first = next(i for i, augmentation in enumerate(augmentations) if augmentation)
        raise AugmentationError(f"stages.{first}.augment changes audio, and {student.name!r} reads prompts; remove it")
    cache = AudioCache(max_mib=recipe.audio.cache_mib, max_seconds=recipe.audio.max_seconds)
    recipe = _settled(recipe, stages, evaluations)
    heard = heard_before(recipe, stages, probe_set, evaluations)
    source, listed = AudioSource(cache), tuple(dict.fromkeys(findings))
    return Setup(recipe, student, pair, source, stages, augmentations, probe_set, evaluations, heard, listed)


def _check_intervals(recipe: Recipe, probe_set: Sequence[Utterance], findings: Sequence[Finding]) -> None:
    """Refuse a single probed utterance where gates judge by intervals.

    Raises:
        ManifestError: Names the manifest, how many of its lines were dropped, the gate and the remedy.
    """
    if recipe.probe is None or len(probe_set) != 1:
        return
    dropped = lines_of(one for one in errors(findings) if one.file == recipe.probe.manifest)
    left = f" left, {dropped} could not be used" if dropped else ""
    for i, stage in enumerate(recipe.stages):
        if stage.gate is not None and statistics_read(stage.gate) and not opens_without_intervals(stage.gate):
            raise ManifestError(f"{recipe.probe.manifest} has one utterance{left}: stages.{i}.gate {NEEDS_INTERVALS}")


def _student(recipe: Recipe, device: torch.device | str, weights: Path | None) -> Recogniser:
    try:
        return load_student(recipe.student, recipe.seed, device, weights)
    except (ModelError, OSError) as error:
        if weights is None:
            raise
        raise lost(weights, str(error).rstrip(".")) from error


def with_evaluations(recipe: Recipe, sections: Sequence[Evaluation]) -> Recipe:
    """The recipe with other settings of its evaluation sets.

    Args:
        recipe: Any.
        sections: In the order of `recipe.evaluations`, as many.
    """
    main, further = (sections[0], tuple(sections[1:])) if sections else (None, ())
    return recipe.model_copy(update={"evaluation": main, "further_evaluations": further})


def _settled(
    recipe: Recipe, stages: Sequence[Sequence[Utterance]], evaluations: Sequence[Sequence[Utterance]]
) -> Recipe:
    """The recipe with every longest transcript that it leaves to the audio."""

    def stage(section: StageConfig, utterances: Sequence[Utterance]) -> StageConfig:
        if section.type == "td":
            return section.model_copy(update={"transcription": settled(section.transcription, utterances)})
        if section.type != "opd":
            return section
        other = section.off_policy
        if other is not None:
            other = other.model_copy(update={"transcription": settled(other.transcription, utterances)})
        return section.model_copy(update={"rollout": settled(section.rollout, utterances), "off_policy": other})

    def evaluation(section: Evaluation, utterances: Sequence[Utterance]) -> Evaluation:
        limit = section.max_new_tokens
        return section.model_copy(update={"max_new_tokens": token_limit(utterances) if limit is None else limit})

    recipe = recipe.model_copy(update={"stages": tuple(map(stage, recipe.stages, stages))})
    return with_evaluations(recipe, list(map(evaluation, recipe.evaluations, evaluations)))


def _with_plain_labels(
    recipe: Recipe, sets: Sequence[tuple[Utterance, ...]], student: Recogniser
) -> tuple[tuple[tuple[Utterance, ...], ...], list[Finding]]:
    """All data with the labels that the student learns or is scored against, and what is wrong with those used."""
    learned = [*map(_learns_labels, recipe.stages)]
    probed = recipe.probe is not None and "reference" in recipe.probe.states
    plain, findings = [], []
    scored = [True] * len(recipe.evaluations)
    of_sets = zip(sets, [*learned, probed, *(False for _ in scored)], [*learned, probed, *scored], strict=True)
    for utterances, learns, used in of_sets:
        made, found = plain_labels(utterances, student, learned=learns)
        plain.append(tuple(made))
        findings += found if used else []
    return tuple(plain), findings


def _learns_labels(stage: StageConfig) -> bool:
    """Whether a stage trains on the text of its manifest."""
    if stage.type == "opd":
        return stage.off_policy is not None and stage.off_policy.states == "reference"
    return stage.type == "sft"


def _check_times(recipe: Recipe, student: Recogniser, pair: Pair | None) -> None:
    """Refuse what has no place for points in time.

    Raises:
        ModelError: One model writes them and its counterpart or a stage does not.
    """
    times = bool(student.tokens.times)
    if pair is not None and times != bool(pair.teacher.tokens.times):
        has, lacks = ("student", "teacher") if times else ("teacher", "student")
        raise ModelError(
            f"{has}.timestamps is set and {lacks}.timestamps is not: their transcripts differ in every point in time; "
            "set it in both sections (Whisper) or in neither"
        )
    for i, stage in enumerate(recipe.stages if times else ()):
        if stage.type == "td" or (stage.type == "opd" and stage.off_policy and stage.off_policy.states == "teacher"):
            raise ModelError(
                f"student.timestamps is set and stages.{i} ({stage.name!r}) learns from the teacher's text, which has "
                "no points in time; remove timestamps, or teach them in sft and on-policy stages alone"
            )


def _check_levels(recipe: Recipe, pair: Pair) -> None:
    """Refuse what the recipe alone cannot show: levels beyond what a pair with one vocabulary can read.

    Raises:
        PairError: No reading can meet a gate's level.
    """
    ranges = Ranges(recipe.support.k, one_vocabulary=pair.vocabulary is None)
    for i, stage in enumerate(recipe.stages):
        if stage.gate is not None and (beyond := out_of_reach(stage.gate, ranges)):
            raise PairError(f"stages.{i}.gate: {'; '.join(beyond)} (the two have one vocabulary)")


def _read(recipe: Recipe) -> tuple[tuple[tuple[Utterance, ...], ...], list[Finding]]:
    """The data of stages, probe (empty without one) and evaluations as far as it can be read, and what is wrong there.

    Raises:
        ManifestError: A set of which nothing is left.
    """
    places: list[tuple[str, int | None] | None] = [(stage.manifest, None) for stage in recipe.stages]
    places.append((recipe.probe.manifest, recipe.probe.max_utterances) if recipe.probe else None)
    places += [(section.manifest, None) for section in recipe.evaluations]
    read = {
        place: check_source(place[0], recipe.audio.max_seconds, first=place[1], decode=recipe.audio.check == "decode")
        for place in dict.fromkeys(places)
        if place is not None
    }
    findings = [*dict.fromkeys(one for _, found in read.values() for one in found)]
    for utterances, found in read.values():
        if not utterances:
            refuse(found, "and nothing is left without them")
    return tuple(tuple(read[place][0]) if place is not None else () for place in places), findings


def _uses(
    recipe: Recipe,
    sets: Sequence[tuple[Utterance, ...]],
    student: Recogniser,
    both: tuple[Recogniser | ServedTeacher, ...],
) -> list[Use]:
    """Which models read which data, and whose text is scored."""
    uses = []
    for stage, utterances in zip(recipe.stages, sets, strict=False):
        off_policy = getattr(stage, "off_policy", None)
        scored = stage.type == "sft" or (off_policy is not None and off_policy.states == "reference")
        readers = (student,) if stage.type == "sft" else both
        uses.append(Use(utterances, readers, student if scored else None, taught=stage.type == "sft"))
    scored = recipe.probe is not None and "reference" in recipe.probe.states
    probed, *evaluated = sets[len(recipe.stages) :]
    return [*uses, Use(probed, both, student if scored else None), *(Use(used, both) for used in evaluated)]


def _with_text(
    recipe: Recipe, sets: Sequence[tuple[Utterance, ...]]
) -> tuple[tuple[tuple[Utterance, ...], ...], list[Finding]]:
    """All data without the lines that lack a text which is learned or scored there, and what was left out.

    Elsewhere such lines are of use, so that they are left out of that set alone.

    Raises:
        ManifestError: A set of which nothing is left.
    """
    purposes: list[str | None] = []
    for stage in recipe.stages:
        what = "supervised training" if stage.type == "sft" else "training on reference states"
        purposes.append(f"{what} (stage {stage.name!r})" if _learns_labels(stage) else None)
    probed = recipe.probe is not None and "reference" in recipe.probe.states
    purposes.append("probing on reference transcripts" if probed else None)
    purposes += [f"evaluation {section.name!r}" for section in recipe.evaluations]
    kept, findings = [], []
    for utterances, purpose in zip(sets, purposes, strict=True):
        found = [] if purpose is None else without_text(utterances, purpose)
        kept.append(tuple(u for u in utterances if u.text is not None) if found else utterances)
        if utterances and not kept[-1]:
            refuse(found, "and nothing is left without them")
        findings += found
    return tuple(kept), [*dict.fromkeys(findings)]


def _refuse_unless_dropped(recipe: Recipe, findings: list[Finding]) -> None:
    """Refuse all lines that cannot be used at once, unless the recipe drops them.

    Raises:
        ManifestError: There are such lines.
    """
    if recipe.audio.unusable == "fail":
        refuse(dict.fromkeys(findings), 'or run without them: unusable = "drop" in [audio]')


def _usable(utterances: tuple[Utterance, ...], findings: Sequence[Finding]) -> tuple[Utterance, ...]:
    wrong = {((finding.file, finding.line), finding.id) for finding in errors(findings)}
    kept = tuple(utterance for utterance in utterances if (utterance.place, utterance.id) not in wrong)
    if utterances and not kept:
        refuse(findings, "and nothing is left without them")
    return kept
