"""Training data of a stage: its utterances, with the teacher's text if the stage is trained on it, and their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.batch import length
from ..data.manifest import Utterance
from ..data.sampling import BatchSampler
from ..progress.observer import Observer
from ..recipe import OffPolicy, StageConfig, TeacherDataStage
from ..run.checkpoint import TrainingState
from ..run.run_directory import RunDirectory
from ..teacher_data.labels import label_counts
from ..teacher_data.making import teacher_data
from .setup import Setup


@dataclass(frozen=True, eq=False)
class StageData:
    """What a stage trains on.

    Attributes:
        utterances: With the teacher's text if the stage is trained on it, without those that its filters drop.
        sampler: Their order.
        teacher_texts: Utterances with the teacher's text by id, on which an on-policy step is taken whose rollouts are
            refused; empty where there are none.
    """

    utterances: Sequence[Utterance]
    sampler: BatchSampler
    teacher_texts: Mapping[str, Utterance]

    @classmethod
    def of_stage(cls, setup: Setup, state: TrainingState, run: RunDirectory, observer: Observer) -> StageData:
        """Return the data of the current stage; for arguments and errors see `stage_utterances`."""
        stage = setup.recipe.stages[state.stage]
        utterances = stage_utterances(setup, state.stage, run, observer)
        rejects = stage.type == "opd" and stage.reject is not None
        texts = teacher_texts(setup, state.stage, run, observer) if rejects else {}
        return cls(
            utterances, stage_sampler(stage, utterances, (setup.recipe.seed, state.stage, state.fallbacks)), texts
        )


def stage_utterances(setup: Setup, index: int, run: RunDirectory, observer: Observer) -> Sequence[Utterance]:
    """Return utterances of a stage, with the teacher's text if it is trained on that, without those that its filters
    drop.

    Args:
        setup: Models and data of the run.
        index: Which stage.
        run: The teacher data is written there, with dropped utterances and the reasons.
        observer: Is told of progress, how much was kept, and how many labels are the teacher's own tokens.

    Returns:
        The utterances, at least one.

    Raises:
        TeacherDataError: The filters dropped everything.
        UserError: The transcripts kept there are another teacher's or of other utterances.
    """
    utterances = _with_teacher_text(setup, index, run, observer)
    stage = setup.recipe.stages[index]
    if stage.type != "opd" or stage.off_policy:
        counts = label_counts(utterances, setup.student.tokens)
        if counts.line:
            observer.notice(f"{stage.name}: {counts.line}")
    return utterances


def _with_teacher_text(setup: Setup, index: int, run: RunDirectory, observer: Observer) -> Sequence[Utterance]:
    stage, utterances = setup.recipe.stages[index], setup.stages[index]
    section = teacher_section(stage)
    if section is None:
        return utterances
    assert setup.teacher is not None
    output = transcripts_of(run, stage)
    data = teacher_data(
        output,
        setup.teacher,
        setup.source,
        utterances,
        section.transcription,
        section.filters,
        progress=lambda done, total: observer.work("teacher transcripts", done, total),
    )
    if run.writer:
        data.write(output)
    observer.teacher_data(stage.name, data.summary)
    return data.kept


def teacher_texts(setup: Setup, index: int, run: RunDirectory, observer: Observer) -> dict[str, Utterance]:
    """Return utterances of an on-policy stage with the teacher's text, by id, where a stage of the run has it.

    Args:
        setup: Models and data of the run.
        index: Of the on-policy stage.
        run: Holds the teacher's transcripts.
        observer: Is told of progress.

    Returns:
        Those of the stage's own off-policy share, or of an earlier stage of type td with the same manifest.
    """
    stages = setup.recipe.stages
    same = [i for i in range(index) if stages[i].type == "td" and stages[i].manifest == stages[index].manifest]
    source = index if teacher_section(stages[index]) is not None else same[-1] if same else None
    if source is None or not transcripts_of(run, stages[source]).exists():
        return {}
    return {one.id: one for one in _with_teacher_text(setup, source, run, observer)}


def teacher_section(stage: StageConfig) -> TeacherDataStage | OffPolicy | None:
    """Return the part of a stage that says how the teacher transcribes its audio; None where it does not."""
    if stage.type == "td":
        return stage
    if stage.type == "opd" and stage.off_policy and stage.off_policy.states == "teacher":
        return stage.off_policy
    return None


def transcripts_of(run: RunDirectory, stage: StageConfig) -> Path:
    """Return where the teacher's transcripts of a stage are kept."""
    return run.path / f"teacher-transcripts-{stage.name}.jsonl"


def stage_sampler(stage: StageConfig, utterances: Sequence[Utterance], key: tuple[int, ...]) -> BatchSampler:
    """Return the order in which a stage visits its utterances, seeded by `key`."""
    curriculum = stage.curriculum if stage.type == "sft" else None
    return BatchSampler(
        tuple(length(utterance) for utterance in utterances),
        stage.batch_size,
        key,
        curriculum.steps if curriculum else 0,
        curriculum.start_fraction if curriculum else 1.0,
        stage.bucket_batches,
    )
