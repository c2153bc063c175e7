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
from ..data.data_sets import DataSets
from ..data.groups import FieldGroups, groups_by
from ..data.line_findings import Finding
from ..data.manifest import Utterance
from ..data.no_speech import NoSpeechClip
from ..limits import token_limit, with_token_limit
from ..models import ModelError, Recognizer
from ..probing.no_speech import checked_clips
from ..recipe import Evaluation, Recipe, StageConfig
from ..recipe.gate_statistics import out_of_reach
from ..recipe.readers import readers_of
from ..run.checkpoint import checkpoint_error
from ..scoring.loading import load_student, load_teacher
from ..scoring.pair import Pair, PairError
from ..teacher import ServedTeacher
from .augmentation import Augmentation, AugmentationError
from .run_data import by_section, check_intervals, read_data
from .seen_in_training import SeenInTraining, seen_in_training
from .trust_region import check_trust_region


@dataclass(frozen=True)
class Setup:
    """Models and data of a run; the pair is None without a teacher.

    `stages[i]` are the i-th stage's utterances, `augmentations[i]` its augmentation. `seen_in_training` says which data
    the models were trained on before; `findings` are doubtful and dropped lines, with reasons; `no_speech` are the
    probe's clips without speech. Groups of `least_group` probed utterances have readings of their own.
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
    no_speech: tuple[NoSpeechClip, ...] = ()
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
    data = read_data(recipe)
    augmentations = augmentations_of(recipe)
    student = load_student_of(recipe, device, weights)
    teacher = load_teacher_of(recipe, device)
    pair = None if teacher is None else paired(recipe, student, teacher)
    data = checked_data(recipe, data, student, pair)
    if recipe.audio.unusable == "fail":
        data.refuse('or run without them: unusable = "drop" in [audio]')
    return settled(recipe, data, student, pair, augmentations)


def augmentations_of(recipe: Recipe) -> tuple[Augmentation | None, ...]:
    """Return the augmentation of each stage.

    Raises:
        AugmentationError, MissingExtraError: One cannot be made.
    """
    return tuple(
        Augmentation.from_sections(stage.augment, f"stages.{i}.augment") for i, stage in enumerate(recipe.stages)
    )


def load_student_of(recipe: Recipe, device: torch.device | str, weights: Path | None = None) -> Recognizer:
    """Return the student, with the weights of a checkpoint of the run if there is one.

    Raises:
        ModelError: It cannot be loaded.
        CheckpointError: The weights of the checkpoint cannot be loaded; names one from which the run can continue.
    """
    try:
        return load_student(recipe.student, recipe.seed, device, weights)
    except (ModelError, OSError) as error:
        if weights is None:
            raise
        raise checkpoint_error(weights, str(error).rstrip(".")) from error


def load_teacher_of(recipe: Recipe, device: torch.device | str) -> Recognizer | ServedTeacher | None:
    """Return the teacher; None if the recipe has none.

    Raises:
        ModelError, ServerError: It cannot be loaded.
    """
    if recipe.teacher is None:
        return None
    return load_teacher(recipe.teacher, device, k=recipe.support.k, seed=recipe.seed)


def paired(recipe: Recipe, student: Recognizer, teacher: Recognizer | ServedTeacher) -> Pair:
    """Return the two models as a pair.

    Raises:
        PairError: They cannot be compared, or a gate's level is out of their reach.
    """
    pair = Pair.from_models(student, teacher, recipe.support.k)
    _check_levels(recipe, pair)
    for i, stage in enumerate(recipe.stages):
        if stage.type == "opd" and stage.rollout.trust_region is not None:
            check_trust_region(pair, f"stages.{i}.rollout.trust_region")
    return pair


def checked_data(recipe: Recipe, data: DataSets, student: Recognizer, pair: Pair | None) -> DataSets:
    """Return the data with findings about every line that the models cannot use.

    Raises:
        ManifestError, ModelError: A model refuses every input, or timestamps that one side lacks.
    """
    _check_times(recipe, student, pair)
    return data.checked(student, pair and pair.teacher)


def settled(
    recipe: Recipe,
    data: DataSets,
    student: Recognizer,
    pair: Pair | None,
    augmentations: tuple[Augmentation | None, ...],
) -> Setup:
    """Return a run's setup from its parts, without the lines that cannot be used.

    Raises:
        ManifestError, AugmentationError, UserError, AudioError: What does not fit.
    """
    data = data.usable()
    check_intervals(recipe, data)
    stages, probe_set, evaluations = by_section(recipe, data)
    if student.reads != "audio" and any(augmentations):
        first = next(i for i, augmentation in enumerate(augmentations) if augmentation)
        raise AugmentationError(f"stages.{first}.augment changes audio, and {student.name!r} reads prompts; remove it")
    cache = AudioCache(max_mib=recipe.audio.cache_mib, max_seconds=recipe.audio.max_seconds)
    recipe = _with_token_limits(recipe, stages, evaluations)
    seen = seen_in_training(recipe, stages, probe_set, evaluations)
    source, findings = AudioSource(cache), data.all_findings
    clips = _no_speech(recipe, pair, probe_set)
    return Setup(recipe, student, pair, source, stages, augmentations, probe_set, evaluations, seen, findings, clips)


def _no_speech(recipe: Recipe, pair: Pair | None, probed: Sequence[Utterance]) -> tuple[NoSpeechClip, ...]:
    """Return the probe's clips without speech, checked against the models."""
    if pair is None or recipe.probe is None or recipe.probe.no_speech is None:
        return ()
    return checked_clips(recipe.probe.no_speech, probed, (pair.student, pair.teacher), "probe.no_speech")


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
        PairError: No reading can reach the level of a gate or of an off-policy share.
    """
    ranges = Ranges(recipe.support.k, one_vocabulary=pair.vocabulary is None)
    for i, stage in enumerate(recipe.stages):
        for where, reader in readers_of(stage, f"stages.{i}"):
            if beyond := out_of_reach(reader, ranges):
                raise PairError(f"{where}: {'; '.join(beyond)} (the models share one vocabulary)")
