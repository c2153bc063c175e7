"""Loads and checks everything a run needs before the first step, so that mistakes appear in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from overlap.definitions import Ranges
from overlap.definitions.group_names import LEAST

from ..data.audio import AudioCache
from ..data.batch import AudioSource
from ..data.data_sets import DataSets, Purpose, read_sets
from ..data.groups import FieldGroups, groups_by, required_groups
from ..data.line_findings import Finding, errors, lines_of
from ..data.manifest import ManifestError, Utterance
from ..limits import token_limit, with_token_limit
from ..models import ModelError, Recognizer
from ..normalize import normalizer
from ..recipe import Evaluation, Recipe, StageConfig
from ..recipe.gate_statistics import out_of_reach
from ..recipe.gates import NEEDS_INTERVALS, too_small
from ..recipe.group_gates import too_small_groups
from ..recipe.paths import require_files
from ..run.checkpoint import checkpoint_error
from ..scoring.loading import load_student, load_teacher
from ..scoring.pair import Pair, PairError
from ..teacher import ServedTeacher
from .augmentation import Augmentation, AugmentationError
from .seen_in_training import SeenInTraining, seen_in_training


@dataclass(frozen=True)
class Setup:
    """Models and data of a run; the pair is None without a teacher.

    `stages[i]` are the i-th stage's utterances, `augmentations[i]` its augmentation. `seen_in_training` says which data
    the models were trained on before; `findings` are doubtful and dropped lines, with reasons. Groups of `least_group`
    probed utterances have readings of their own.
    """

    recipe: Recipe
    student: Recognizer
    pair: Pair | None
    source: AudioSource
    stages: tuple[tuple[Utterance, ...], ...]
    augmentations: tuple[Augmentation | None, ...]
    probe: tuple[Utterance, ...]
    evaluations: tuple[tuple[Utterance, ...], ...]
    seen_in_training: tuple[SeenInTraining, ...]
    findings: tuple[Finding, ...] = ()
    least_group: int = LEAST

    @property
    def teacher(self) -> Recognizer | ServedTeacher | None:
        """The pair's teacher."""
        return self.pair and self.pair.teacher

    @property
    def groups(self) -> tuple[FieldGroups, ...]:
        """Groups of the probed utterances by each field of `probe.groups`."""
        fields = self.recipe.probe.groups if self.recipe.probe else ()
        return tuple(groups_by(self.probe, field, self.least_group) for field in fields)

    @property
    def tokenizers(self) -> dict[str, Any]:
        """Findings about each model's tokenizer and restored merges, for `resolved.json`."""
        models = {"student": self.student} | ({} if self.teacher is None else {"teacher": self.teacher})
        return {role: {"vocabulary": m.tokens.digest} | m.tokens.check.to_dict() for role, m in models.items()}


def prepare_run(recipe: Recipe, *, device: torch.device | str, weights: Path | None = None) -> Setup:
    """Read manifests, load models, and check that they fit.

    Args:
        recipe: With absolute paths.
        device: Device of both models.
        weights: A checkpoint of this run whose weights the student takes instead of the recipe's.

    Raises:
        FileNotFoundError, ManifestError, AudioError, AugmentationError, MissingExtraError, ModelError, PairError,
            ServerError: Something does not fit; the message has the remedy.
        CheckpointError: The weights of the checkpoint cannot be loaded; names one from which the run can continue.
        UserError: The record of training data beside a model's weights is damaged.
    """
    require_files(recipe)
    data = read_sets(
        _manifest_uses(recipe), max_seconds=recipe.audio.max_seconds, decode=recipe.audio.check == "decode"
    )
    _check_intervals(recipe, data)
    for section in recipe.evaluations:
        normalizer(section.normalizer)
    data = data.usable()

    augmentations = tuple(
        Augmentation.from_sections(stage.augment, f"stages.{i}.augment") for i, stage in enumerate(recipe.stages)
    )

    student = _student(recipe, device, weights)
    pair = None
    if recipe.teacher:
        k = recipe.support.k
        pair = Pair.from_models(student, load_teacher(recipe.teacher, device, k=k, seed=recipe.seed), k)
        _check_levels(recipe, pair)
    _check_times(recipe, student, pair)
    data = data.checked(student, pair and pair.teacher)
    if recipe.audio.unusable == "fail":
        data.refuse('or run without them: unusable = "drop" in [audio]')
    data = data.usable()
    _check_intervals(recipe, data)
    stages, probe_set, evaluations = _by_section(recipe, data)
    if student.reads != "audio" and any(augmentations):
        first = next(i for i, augmentation in enumerate(augmentations) if augmentation)
        raise AugmentationError(f"stages.{first}.augment changes audio, and {student.name!r} reads prompts; remove it")
    cache = AudioCache(max_mib=recipe.audio.cache_mib, max_seconds=recipe.audio.max_seconds)
    recipe = _with_token_limits(recipe, stages, evaluations)
    seen = seen_in_training(recipe, stages, probe_set, evaluations)
    source, findings = AudioSource(cache), data.all_findings
    return Setup(recipe, student, pair, source, stages, augmentations, probe_set, evaluations, seen, findings)


def _check_intervals(recipe: Recipe, data: DataSets) -> None:
    """Refuse probes that are too small for a gate to open, such as a single utterance if gates need intervals, and
    fields of `probe.groups` that give no group readings of its own.

    Raises:
        ManifestError: Names the manifest, how many of its lines were dropped, the gate and the remedy.
    """
    if recipe.probe is None:
        return
    n = len(_by_section(recipe, data)[1])
    dropped = lines_of(one for one in errors(data.all_findings) if one.file == recipe.probe.manifest)
    left = f" left, {dropped} could not be used" if dropped else ""
    for i, stage in enumerate(recipe.stages):
        gate = stage.effective_gate.build()
        if n == 1 and gate.statistics and not gate.opens_without_intervals:
            raise ManifestError(f"{recipe.probe.manifest} has one utterance{left}: stages.{i}.gate {NEEDS_INTERVALS}")
        if small := too_small(gate, n, f"stages.{i}.gate"):
            raise ManifestError(f"{recipe.probe.manifest} has {n} utterances{left}: {'; '.join(small)}")
    fields, probed = recipe.probe.groups, _by_section(recipe, data)[1]
    groups = required_groups(probed, fields, recipe.probe.manifest, "probe.groups", left)
    sizes = {one.field: {group: len(ids) for group, ids in one.large.items()} for one in groups}
    for i, stage in enumerate(recipe.stages):
        if small := too_small_groups(stage.effective_gate.build(), sizes, f"stages.{i}.gate"):
            raise ManifestError(f"{recipe.probe.manifest}{left}: {'; '.join(small)}")


def _student(recipe: Recipe, device: torch.device | str, weights: Path | None) -> Recognizer:
    try:
        return load_student(recipe.student, recipe.seed, device, weights)
    except (ModelError, OSError) as error:
        if weights is None:
            raise
        raise checkpoint_error(weights, str(error).rstrip(".")) from error


def with_evaluations(recipe: Recipe, sections: Sequence[Evaluation]) -> Recipe:
    """Return the recipe with new settings of its evaluation sets.

    Args:
        recipe: Any.
        sections: In the order of `recipe.evaluations`, as many.
    """
    main, further = (sections[0], tuple(sections[1:])) if sections else (None, ())
    return recipe.model_copy(update={"evaluation": main, "further_evaluations": further})


def _with_token_limits(
    recipe: Recipe, stages: Sequence[Sequence[Utterance]], evaluations: Sequence[Sequence[Utterance]]
) -> Recipe:
    """Return the recipe with every `max_new_tokens` that it leaves to the audio."""

    def stage(section: StageConfig, utterances: Sequence[Utterance]) -> StageConfig:
        if section.type == "td":
            return section.model_copy(update={"transcription": with_token_limit(section.transcription, utterances)})
        if section.type != "opd":
            return section
        other = section.off_policy
        if other is not None:
            other = other.model_copy(update={"transcription": with_token_limit(other.transcription, utterances)})
        return section.model_copy(
            update={"rollout": with_token_limit(section.rollout, utterances), "off_policy": other}
        )

    def evaluation(section: Evaluation, utterances: Sequence[Utterance]) -> Evaluation:
        limit = section.max_new_tokens
        return section.model_copy(update={"max_new_tokens": token_limit(utterances) if limit is None else limit})

    recipe = recipe.model_copy(update={"stages": tuple(map(stage, recipe.stages, stages))})
    return with_evaluations(recipe, list(map(evaluation, recipe.evaluations, evaluations)))


def _manifest_uses(recipe: Recipe) -> list[tuple[Purpose, str]]:
    """Uses of the recipe's manifests: of the stages, of the probe if there is one, of the evaluations."""
    wanted = []
    for stage in recipe.stages:
        learned = _learns_labels(stage)
        kind = "supervised training" if stage.type == "sft" else "training on reference states"
        needs = f"{kind} (stage {stage.name!r})" if learned else ""
        purpose = Purpose(needs, is_scored=learned, is_learned=learned, is_supervised=stage.type == "sft")
        wanted.append((purpose, stage.manifest))
    if recipe.probe:
        needs = "probing on reference transcripts" if "reference" in recipe.probe.states else ""
        first, scored = recipe.probe.max_utterances, bool(needs)
        purpose = Purpose(needs, first=first, is_scored=scored, is_learned=scored)
        wanted.append((purpose, recipe.probe.manifest))
    return [*wanted, *((Purpose(f"evaluation {section.name!r}"), section.manifest) for section in recipe.evaluations)]


def _by_section(
    recipe: Recipe, data: DataSets
) -> tuple[tuple[tuple[Utterance, ...], ...], tuple[Utterance, ...], tuple[tuple[Utterance, ...], ...]]:
    """Return the utterances of the stages, of the probe (none without one), and of the evaluations."""
    n, probed = len(recipe.stages), int(recipe.probe is not None)
    return data.sets[:n], data.sets[n] if probed else (), data.sets[n + probed :]


def _learns_labels(stage: StageConfig) -> bool:
    """Return whether a stage trains on the text of its manifest."""
    if stage.type == "opd":
        return stage.off_policy is not None and stage.off_policy.states == "reference"
    return stage.type == "sft"


def _check_times(recipe: Recipe, student: Recognizer, pair: Pair | None) -> None:
    """Refuse timestamps that a model or stage does not support.

    Raises:
        ModelError: One model writes them and its counterpart or a stage does not.
    """
    times = bool(student.tokens.times)
    if pair is not None and times != bool(pair.teacher.tokens.times):
        has, lacks = ("student", "teacher") if times else ("teacher", "student")
        raise ModelError(
            f"{has}.timestamps is set and {lacks}.timestamps is not: their transcripts would differ in every "
            "timestamp; set it in both sections (Whisper) or in neither"
        )
    for i, stage in enumerate(recipe.stages if times else ()):
        if stage.type == "td" or (stage.type == "opd" and stage.off_policy and stage.off_policy.states == "teacher"):
            raise ModelError(
                f"student.timestamps is set and stages.{i} ({stage.name!r}) is trained on the teacher's text, which "
                "has no timestamps; remove timestamps, or use only sft and on-policy stages"
            )


def _check_levels(recipe: Recipe, pair: Pair) -> None:
    """Refuse levels that the pair cannot reach because both models have one vocabulary.

    Raises:
        PairError: No reading can reach a gate's level.
    """
    ranges = Ranges(recipe.support.k, one_vocabulary=pair.vocabulary is None)
    for i, stage in enumerate(recipe.stages):
        if stage.gate is not None and (beyond := out_of_reach(stage.gate.build(), ranges)):
            raise PairError(f"stages.{i}.gate: {'; '.join(beyond)} (the models share one vocabulary)")
