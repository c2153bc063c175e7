"""What a stage trains on: its utterances, with the teacher's text where that is the lesson, and their order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .audio import duration
from .manifest import Utterance
from .recipe import StageConfig
from .sampling import BatchSampler
from .setup import Setup
from .transcribe import Progress, teacher_transcripts


def stage_utterances(setup: Setup, index: int, run: Path, progress: Progress) -> Sequence[Utterance]:
    """Utterances of a stage, with the teacher's text where it learns from that, less those where it wrote nothing.

    Args:
        setup: Models and data of the run.
        index: Which stage.
        run: The run directory, where the teacher's transcripts are kept.
        progress: Called as the teacher writes.

    Returns:
        The utterances; none if the teacher wrote nothing at all.

    Raises:
        ValueError: The transcripts kept there are another teacher's or of other utterances.
    """
    stage, utterances = setup.recipe.stages[index], setup.stages[index]
    if stage.type == "td":
        decoding = stage.transcription
    elif stage.type == "opd" and stage.off_policy and stage.off_policy.states == "teacher":
        decoding = stage.off_policy.transcription
    else:
        return utterances
    assert setup.teacher is not None
    path = run / f"teacher-transcripts-{stage.name}.jsonl"
    written = teacher_transcripts(path, setup.teacher, setup.source, utterances, decoding, progress=progress)
    return [utterance for utterance in written if utterance.text]


def stage_sampler(stage: StageConfig, utterances: Sequence[Utterance], key: tuple[int, ...]) -> BatchSampler:
    """The order in which a stage visits its utterances, seeded by `key`."""
    curriculum = stage.curriculum if stage.type == "sft" else None
    return BatchSampler(
        tuple(duration(utterance) for utterance in utterances),
        stage.batch_size,
        key,
        curriculum.steps if curriculum else 0,
        curriculum.start_fraction if curriculum else 1.0,
        stage.bucket_batches,
    )
