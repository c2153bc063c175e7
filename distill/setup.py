"""Everything a run needs, loaded and checked before the first step, so that mistakes surface in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from .audio import AudioCache, AudioError, duration
from .data import AudioSource, check_inputs
from .manifest import Utterance, require_text
from .models import Recogniser, load_recogniser
from .normalise import normaliser
from .pair import Pair
from .recipe import Model, Recipe, Teacher
from .sources import read_utterances
from .teacher import ServedTeacher, load_served_teacher


@dataclass(frozen=True)
class Setup:
    """Models and data of a run; the pair is None without a teacher, `stages[i]` are the i-th stage's utterances."""

    recipe: Recipe
    student: Recogniser
    pair: Pair | None
    source: AudioSource
    stages: tuple[tuple[Utterance, ...], ...]
    probe: tuple[Utterance, ...]
    evaluation: tuple[Utterance, ...]

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
        ManifestError, AudioError, ModelError, PairError, ServerError: Whatever does not fit, with the remedy.
    """
    stages = tuple(_read(stage.manifest, recipe) for stage in recipe.stages)
    for stage, utterances in zip(recipe.stages, stages, strict=True):
        if stage.type == "sft":
            require_text(utterances, f"supervised training (stage {stage.name!r})")
        elif stage.type == "opd" and stage.off_policy and stage.off_policy.states == "reference":
            require_text(utterances, f"training on reference states (stage {stage.name!r})")
    probe_set: tuple[Utterance, ...] = ()
    if recipe.probe:
        probe_set = _read(recipe.probe.manifest, recipe)[: recipe.probe.max_utterances]
        if "reference" in recipe.probe.states:
            require_text(probe_set, "probing on reference transcripts")
    evaluation: tuple[Utterance, ...] = ()
    if recipe.evaluation:
        normaliser(recipe.evaluation.normaliser)
        evaluation = _read(recipe.evaluation.manifest, recipe)
        require_text(evaluation, "evaluation")

    student = load_model(recipe.student, recipe.seed, device, weights)
    if recipe.student.freeze_encoder:
        student.freeze_encoder(recipe.student.encoder_cache_mib)
    pair = None
    if recipe.teacher:
        k = recipe.support.k
        pair = Pair.of(student, load_teacher(recipe.teacher, device, k=k, seed=recipe.seed), k)
    both = (student,) if pair is None else (student, pair.teacher)
    for stage, utterances in zip(recipe.stages, stages, strict=True):
        check_inputs(utterances, *(both if stage.type != "sft" else (student,)))
    check_inputs(probe_set, *both)
    check_inputs(evaluation, *both)
    cache = AudioCache(max_mib=recipe.audio.cache_mib, max_seconds=recipe.audio.max_seconds)
    return Setup(recipe, student, pair, AudioSource(cache), stages, probe_set, evaluation)


def load_teacher(section: Teacher, device: torch.device | str, *, k: int, seed: int = 0) -> Recogniser | ServedTeacher:
    """A teacher, here or behind its server; it is never trained.

    Args:
        section: Where it is.
        device: Where one goes that is here.
        k: Size of the top-k sets that a server must show.
        seed: Of weights drawn at random.

    Raises:
        ModelError, ServerError: It cannot be had.
    """
    if section.url is not None:
        return load_served_teacher(section, k)
    teacher = load_model(section, seed, device)
    teacher.generator.requires_grad_(False)
    teacher.freeze_encoder(section.encoder_cache_mib)
    return teacher


def load_model(
    model: Model, seed: int = 0, device: torch.device | str = "cpu", weights: Path | None = None
) -> Recogniser:
    """The model of a recipe's section.

    Args:
        model: The section.
        seed: Of weights drawn at random.
        device: Where the model goes.
        weights: A checkpoint of a run whose weights it takes instead.

    Raises:
        ModelError: As `load_recogniser`.
    """
    if weights is not None:
        return load_recogniser(
            str(weights),
            dtype=model.dtype,
            family=model.family,
            options=model.options,
            trust_remote_code=model.trust_remote_code,
            device=device,
        )
    return load_recogniser(
        model.model,
        revision=model.revision,
        from_scratch=model.from_scratch,
        dtype=model.dtype,
        family=model.family,
        seed=seed,
        window_seconds=model.window_seconds,
        keep_decoder_layers=model.keep_decoder_layers,
        options=model.options,
        trust_remote_code=model.trust_remote_code,
        device=device,
    )


def _read(manifest: str, recipe: Recipe) -> tuple[Utterance, ...]:
    utterances = tuple(read_utterances(manifest))
    check_durations(utterances, recipe.audio.max_seconds)
    return utterances


def check_durations(utterances: Sequence[Utterance], max_seconds: float) -> None:
    """Refuse utterances longer than the limit before training starts, not when a batch happens upon one.

    Raises:
        AudioError: Names the first offenders and how many there are.
    """
    long = [(u, seconds) for u in utterances if (seconds := duration(u)) > max_seconds]
    if long:
        shown = ", ".join(f"{u.id} ({seconds:.1f} s)" for u, seconds in long[:5])
        raise AudioError(
            f"{len(long)} of {len(utterances)} utterances are longer than {max_seconds:g} s: {shown}. Split them, or "
            "raise audio.max_seconds (--max-seconds); audio is never cut silently."
        )
