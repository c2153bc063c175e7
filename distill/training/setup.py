"""Everything a run needs, loaded and checked before the first step, so that mistakes surface in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..data.audio import AudioCache
from ..data.batch import AudioSource, check_inputs
from ..data.checks import Use, check_audio, check_models
from ..data.findings import Finding, errors, refuse
from ..data.manifest import Utterance, require_text
from ..data.sources import read_utterances
from ..models import Recogniser
from ..normalise import normaliser
from ..pair.loading import load_student, load_teacher
from ..pair.pair import Pair
from ..recipe import Recipe
from ..teacher import ServedTeacher
from .augmentation import Augmentation, AugmentationError


@dataclass(frozen=True)
class Setup:
    """Models and data of a run; the pair is None without a teacher.

    `stages[i]` are the i-th stage's utterances, `augmentations[i]` is what it does to their audio; `findings` says what
    is doubtful about their lines, and of those that were dropped why.
    """

    recipe: Recipe
    student: Recogniser
    pair: Pair | None
    source: AudioSource
    stages: tuple[tuple[Utterance, ...], ...]
    augmentations: tuple[Augmentation | None, ...]
    probe: tuple[Utterance, ...]
    evaluation: tuple[Utterance, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def teacher(self) -> Recogniser | ServedTeacher | None:
        """The pair's teacher."""
        return self.pair and self.pair.teacher


def prepare_run(recipe: Recipe, *, device: torch.device | str, weights: Path | None = None) -> Setup:
    """Read manifests, load models, and check that they fit.

    Args:
        recipe: With absolute paths.
        device: Where both models go.
        weights: A checkpoint of this run whose weights the student takes instead of the recipe's.

    Raises:
        ManifestError, AudioError, AugmentationError, MissingExtraError, ModelError, PairError, ServerError: Whatever
            does not fit, with the remedy.
    """
    stages = tuple(_read(stage.manifest) for stage in recipe.stages)
    for stage, utterances in zip(recipe.stages, stages, strict=True):
        if stage.type == "sft":
            require_text(utterances, f"supervised training (stage {stage.name!r})")
        elif stage.type == "opd" and stage.off_policy and stage.off_policy.states == "reference":
            require_text(utterances, f"training on reference states (stage {stage.name!r})")
    probe_set: tuple[Utterance, ...] = ()
    if recipe.probe:
        probe_set = _read(recipe.probe.manifest)[: recipe.probe.max_utterances]
        if "reference" in recipe.probe.states:
            require_text(probe_set, "probing on reference transcripts")
    evaluation: tuple[Utterance, ...] = ()
    if recipe.evaluation:
        normaliser(recipe.evaluation.normaliser)
        evaluation = _read(recipe.evaluation.manifest)
        require_text(evaluation, "evaluation")
    sets = (*stages, probe_set, evaluation)
    findings = _settled(recipe, [one for used in sets for one in check_audio(used, recipe.audio.max_seconds)])
    sets = tuple(_usable(used, findings) for used in sets)

    augmentations = tuple(
        Augmentation.of(stage.augment, f"stages.{i}.augment") for i, stage in enumerate(recipe.stages)
    )

    student = load_student(recipe.student, recipe.seed, device, weights)
    pair = None
    if recipe.teacher:
        k = recipe.support.k
        pair = Pair.of(student, load_teacher(recipe.teacher, device, k=k, seed=recipe.seed), k)
    both = (student,) if pair is None else (student, pair.teacher)
    for stage, utterances in zip((*recipe.stages, None, None), sets, strict=True):
        check_inputs(utterances, *(both if stage is None or stage.type != "sft" else (student,)))
    uses = _uses(recipe, sets, student, both)
    findings += _settled(recipe, [one for use in uses for one in check_models(use)])
    *stages, probe_set, evaluation = (_usable(used, findings) for used in sets)
    if student.reads != "audio" and any(augmentations):
        first = next(i for i, augmentation in enumerate(augmentations) if augmentation)
        raise AugmentationError(f"stages.{first}.augment changes audio, and {student.name!r} reads prompts; remove it")
    cache = AudioCache(max_mib=recipe.audio.cache_mib, max_seconds=recipe.audio.max_seconds)
    source, listed = AudioSource(cache), tuple(dict.fromkeys(findings))
    return Setup(recipe, student, pair, source, tuple(stages), augmentations, probe_set, evaluation, listed)


def _read(manifest: str) -> tuple[Utterance, ...]:
    return tuple(read_utterances(manifest, check_audio=False))  # which is among the checks


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
    return [*uses, Use(sets[-2], both, student if scored else None), Use(sets[-1], both)]


def _settled(recipe: Recipe, findings: list[Finding]) -> list[Finding]:
    """Findings that a run can live with; the others are refused.

    Raises:
        ManifestError: Lines that cannot be used, unless the recipe drops them.
    """
    if recipe.audio.unusable == "fail":
        refuse(findings, 'or run without them: unusable = "drop" in [audio]')
    return findings


def _usable(utterances: tuple[Utterance, ...], findings: Sequence[Finding]) -> tuple[Utterance, ...]:
    wrong = {((finding.file, finding.line), finding.id) for finding in errors(findings)}
    kept = tuple(utterance for utterance in utterances if (utterance.place, utterance.id) not in wrong)
    if utterances and not kept:
        refuse(findings, "and nothing is left without them")
    return kept
