"""Warns if models were trained on a run's audio before the run."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from overlap.arguments import callers_level

from ..data.hf.reference import is_dataset
from ..data.manifest import Utterance
from ..data.sources import identity
from ..recipe import Recipe
from ..run.training_data import FILE, AudioIdentities, TrainingData, read_training_data

Role = Literal["teacher", "student"]


class SeenInTrainingWarning(UserWarning):
    """A model was trained on audio that should be new to it."""


@dataclass(frozen=True)
class SeenInTraining:
    """Share of a manifest's audio that a model was trained on before the run, by the file beside its weights.

    Attributes:
        model: The model.
        folder: Folder of its weights.
        purpose: Use of the manifest: `stage 'NAME'`, `probe` or `evaluation`.
        manifest: The manifest.
        seen: Utterances of which at least a part is in its training audio.
        utterances: Utterances of the manifest that have audio.
    """

    model: Role
    folder: str
    purpose: str
    manifest: str
    seen: int
    utterances: int

    def __str__(self) -> str:
        what = (
            "on such audio its transcripts are close to its labels, and it is more confident than on new audio"
            if self.purpose.startswith("stage")
            else "error rates and agreement are better there than on new audio"
        )
        return (
            f"the {self.model} was trained on {self.seen:,} of {self.utterances:,} utterances of {self.purpose} "
            f"({self.manifest}), as {self.folder}/{FILE} says: {what}. Give audio that it has not been trained on, or "
            f"another {self.model}."
        )


def seen_in_training(
    recipe: Recipe,
    stages: Sequence[Sequence[Utterance]],
    probe: Sequence[Utterance],
    evaluations: Sequence[Sequence[Utterance]],
) -> tuple[SeenInTraining, ...]:
    """Compare a run's audio with the audio that its models were trained on; audio is read only if a model has such a
    file.

    Args:
        recipe: With absolute paths.
        stages: Utterances of each stage.
        probe: Utterances of the probe.
        evaluations: Utterances of each evaluation set.

    Returns:
        One for each model with such a file and each manifest that should be new to it: for both models the probe and
        evaluation sets, for the teacher also the stages that it transcribes or scores. Zero counts are included.
        Manifests without audio (prompts of text models) are not, because prompts are not recorded.

    Raises:
        UserError: The file of a model is damaged.
        AudioError: Audio cannot be read.
    """
    tested = [
        (purpose, section.manifest, utterances)
        for purpose, section, utterances in (
            ("probe", recipe.probe, probe),
            *(
                ("evaluation" if i == 0 else f"evaluation {section.name!r}", section, utterances)
                for i, (section, utterances) in enumerate(zip(recipe.evaluations, evaluations, strict=True))
            ),
        )
        if section
    ]
    transcribed = [
        (f"stage {stage.name!r}", stage.manifest, utterances)
        for stage, utterances in zip(recipe.stages, stages, strict=True)
        if stage.type != "sft"
    ]
    trained: list[tuple[Role, str, list[tuple[str, str, Sequence[Utterance]]]]] = []
    if recipe.teacher and not recipe.teacher.from_scratch:
        trained.append(("teacher", recipe.teacher.model, [*transcribed, *tested]))
    if not recipe.student.from_scratch:
        trained.append(("student", recipe.student.model, tested))
    identities = AudioIdentities()
    found: list[SeenInTraining] = []
    for role, folder, uses in trained:
        known = read_training_data(folder)
        if known is None:
            continue
        for purpose, manifest, utterances in uses:
            if n := sum(utterance.audio is not None for utterance in utterances):
                found.append(
                    SeenInTraining(role, folder, purpose, manifest, known.count_seen(utterances, identities), n)
                )
    return tuple(found)


class TrainedOn:
    """What the student of a run was trained on, before and in it; audio is read when a stage is first asked for."""

    def __init__(self, recipe: Recipe, utterances: Sequence[Sequence[Utterance]]) -> None:
        """Start from the file beside the student's weights.

        Args:
            recipe: With absolute paths.
            utterances: Of each stage.
        """
        self._recipe, self._utterances = recipe, utterances
        self._identities = AudioIdentities()
        self._after: dict[tuple[int, ...], TrainingData] = {}

    def stages(self, entered: Sequence[int]) -> TrainingData:
        """Return what it was trained on once some stages have been entered.

        Args:
            entered: Indices of the stages, in order.

        Raises:
            UserError: The file beside the student's weights is damaged.
            AudioError: Audio cannot be read.
        """
        key = tuple(entered)
        if key not in self._after:
            before = None if self._recipe.student.from_scratch else read_training_data(self._recipe.student.model)
            stages = [self._recipe.stages[i] for i in key]
            sources = {stage.manifest: identity(stage.manifest)["sha256"] for stage in stages}
            source = {
                "recipe": self._recipe.name,
                "seed": self._recipe.seed,
                "version": version("support-overlap"),
                "stages": [
                    {"name": stage.name, "type": stage.type, "manifest": _short(stage.manifest)}
                    | {"sha256": sources[stage.manifest], "utterances": len(self._utterances[i])}
                    for i, stage in zip(key, stages, strict=True)
                ],
            }
            audio = [utterance for i in key for utterance in self._utterances[i]]
            self._after[key] = (before or TrainingData()).plus(audio, self._identities, source)
        return self._after[key]


def _short(manifest: str) -> str:
    """Return a manifest's name without its folder, which means nothing to others who get the weights."""
    return manifest if is_dataset(manifest) else Path(manifest).name


def warn_if_seen(found: Iterable[SeenInTraining]) -> None:
    """Warn of each model that was trained on some of a manifest, once."""
    for one in found:
        if one.seen:
            warnings.warn(str(one), SeenInTrainingWarning, stacklevel=callers_level())


def resolved(found: Iterable[SeenInTraining]) -> dict[str, Any]:
    """Return the field of `resolved.json`."""
    rows: list[Mapping[str, Any]] = [asdict(one) for one in found]
    return {"seen_in_training": rows}
