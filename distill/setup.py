"""Everything a run needs, loaded and checked before the first step, so that mistakes surface in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from .audio import AudioCache, AudioError, duration
from .data import AudioSource
from .manifest import Utterance, require_text
from .models import Recogniser, load_recogniser
from .normalise import normaliser
from .pair import Pair
from .recipe import Model, Recipe
from .sources import read_utterances


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
    def teacher(self) -> Recogniser | None:
        """The pair's teacher."""
        return self.pair and self.pair.teacher


def prepare_run(recipe: Recipe, *, device: torch.device | str, weights: Path | None = None) -> Setup:
    """Read manifests, load models, and check that they fit.

    Args:
        recipe: With absolute paths.
        device: Where both models go.
        weights: A checkpoint of this run whose weights the student takes instead of the recipe's.

    Raises:
        ManifestError, AudioError, ModelError, PairError: Whatever does not fit, with the remedy.
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

    student = _load(recipe.student, recipe.seed, device, weights)
    if recipe.student.freeze_encoder:
        student.freeze_encoder(recipe.student.encoder_cache_mib)
    pair = None
    if recipe.teacher:
        teacher = _load(recipe.teacher, recipe.seed, device)
        teacher.generator.requires_grad_(False)
        teacher.freeze_encoder(recipe.teacher.encoder_cache_mib)
        pair = Pair.of(student, teacher, recipe.support.k)
    cache = AudioCache(max_mib=recipe.audio.cache_mib, max_seconds=recipe.audio.max_seconds)
    return Setup(recipe, student, pair, AudioSource(cache), stages, probe_set, evaluation)


def _load(model: Model, seed: int, device: torch.device | str, weights: Path | None = None) -> Recogniser:
    if weights is not None:
        return load_recogniser(str(weights), dtype=model.dtype, family=model.family, device=device)
    return load_recogniser(
        model.model,
        revision=model.revision,
        from_scratch=model.from_scratch,
        dtype=model.dtype,
        family=model.family,
        seed=seed,
        window_seconds=model.window_seconds,
        keep_decoder_layers=model.keep_decoder_layers,
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
