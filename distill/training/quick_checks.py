"""The checks of data, models and resources that cost seconds: at the start of a run, and as part of `check`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ..checking.attempts import Attempts
from ..checking.ends import check_ends, check_paired_ends
from ..checking.finding import CheckFinding
from ..checking.held_out import check_shared_inputs, check_shared_texts
from ..checking.lines import check_lines
from ..checking.memory import MemoryNeed, memory_bytes, training_memory
from ..checking.references import check_empty, check_lost_characters
from ..checking.resources import CheckpointSize, check_disk, check_estimated_memory, most_bytes
from ..checking.sets import NamedSet, spread
from ..checking.teacher_states import (
    TEACHER_ENDS,
    at_teacher_states,
    check_cut_teacher_data,
    check_prompts,
    check_teacher_states,
)
from ..checking.written_forms import check_written_forms
from ..data.batch import AudioSource, length
from ..data.checks import Use, check_models
from ..data.line_findings import Finding, errors
from ..data.manifest import Utterance
from ..evaluation.transcribe import transcribe
from ..limits import token_limit
from ..models import Recognizer, Transcriber
from ..models.encodings import without_encoder_cache
from ..models.model_size import Shape
from ..normalize import normalizer
from ..recipe import Decoding, Recipe, TeacherDataStage
from ..scoring.pair import Pair
from ..teacher import ServedTeacher
from .probes_and_evaluations import probe_decoding
from .run_data import learns_labels
from .setup import Setup

SAMPLE = 32
"""Utterances of the probe that the teacher transcribes."""

COMPARED = 16
"""Utterances of a stage that the teacher transcribes: to compare written forms, or to see whether a limit cuts them."""


def quick_findings(setup: Setup, output: Path, device: torch.device, processes: int = 1) -> list[CheckFinding]:
    """Return the findings about a run that is about to start; nothing of the setup changes.

    Args:
        setup: Of the run.
        output: Its directory, which may be missing.
        device: Of the student.
        processes: That share a batch.
    """
    attempts, recipe, sets = Attempts(), setup.recipe, named_sets(setup)
    models: dict[str, Transcriber] = {"student": setup.student}
    if setup.teacher is not None:
        models["teacher"] = setup.teacher
    check_sets(attempts, recipe, sets, setup.findings, models)
    attempts.run("end of text", check_ends, models)
    if setup.pair is not None:
        check_pair(attempts, recipe, setup.pair, setup.source, sets)
    size = CheckpointSize.from_network(setup.student.generator)
    needed = most_bytes(size, recipe.checkpoint, len(recipe.stages))
    attempts.run("free disk", check_disk, output, needed)
    needs = _memory_needs(recipe, setup.student, setup.teacher, setup.stages, processes)
    attempts.run("memory", check_estimated_memory, needs, memory_bytes(device), str(device))
    return attempts.findings


def named_sets(setup: Setup) -> list[NamedSet]:
    """Return the sets of a setup by name."""
    return sets_of(setup.recipe, setup.stages, setup.probe, setup.evaluations)


def sets_of(
    recipe: Recipe,
    stages: Sequence[Sequence[Utterance]],
    probe: Sequence[Utterance],
    evaluations: Sequence[Sequence[Utterance]],
) -> list[NamedSet]:
    """Return the sets of a recipe by name.

    Args:
        recipe: With absolute paths.
        stages: Utterances of each stage.
        probe: Of the probe; empty without one.
        evaluations: Of each evaluation set.
    """
    sets = [
        NamedSet(f"stage {stage.name!r}", "training", stage.manifest, tuple(some), learned=learns_labels(stage))
        for stage, some in zip(recipe.stages, stages, strict=True)
    ]
    if recipe.probe is not None:
        sets.append(NamedSet("probe", "probe", recipe.probe.manifest, tuple(probe)))
    return sets + [
        NamedSet(
            f"evaluation {section.name!r}",
            "evaluation",
            section.manifest,
            tuple(some),
            normalize=normalizer(section.normalizer).apply,
        )
        for section, some in zip(recipe.evaluations, evaluations, strict=True)
    ]


def check_sets(
    attempts: Attempts,
    recipe: Recipe,
    sets: Sequence[NamedSet],
    found: Sequence[Finding],
    models: dict[str, Transcriber],
) -> None:
    """Add what can be said of the data alone, and of what tokenizers make of its texts.

    Args:
        attempts: Takes the findings.
        recipe: With absolute paths.
        sets: The sets, without unusable lines.
        found: About lines.
        models: By role, as far as they could be loaded.
    """
    attempts.run("lines and audio", check_lines, found, sets, dropped=recipe.audio.unusable == "drop")
    attempts.run("audio shared between sets", check_shared_inputs, sets)
    attempts.run("texts shared between sets", check_shared_texts, sets)
    attempts.run("empty references", check_empty, sets)
    attempts.run("characters that tokenizers lose", check_lost_characters, sets, models)


def check_pair(attempts: Attempts, recipe: Recipe, pair: Pair, source: AudioSource, sets: Sequence[NamedSet]) -> None:
    """Add what both models say of some utterances.

    Args:
        attempts: Takes the findings.
        recipe: With absolute paths.
        pair: The two models; no encoder output is kept of what they read here.
        source: Reads the audio.
        sets: The sets of the recipe.
    """
    attempts.run("end of text", check_paired_ends, pair)
    with without_encoder_cache(pair.student, pair.teacher):
        sample = _sample(recipe, sets)
        attempts.run("prompts", check_prompts, pair, source, sample[0])
        batch_size = recipe.probe.batch_size if recipe.probe else SAMPLE
        decoding = probe_decoding(recipe)
        probed = attempts.tried(
            "the teacher", at_teacher_states, pair, source, sample, recipe.support, decoding, batch_size
        )
        if probed is not None:
            first, limit = recipe.stages[0].type == "opd", decoding.max_new_tokens
            attempts.run("the teacher", check_teacher_states, probed, on_policy_first=first, limit=limit)
        for stage, one in zip(recipe.stages, sets, strict=False):
            if stage.type == "sft":
                attempts.run("written form of labels and teacher", _written_forms, pair.teacher, source, one)
            if stage.type == "td":
                attempts.run(TEACHER_ENDS, _cut_teacher_data, pair.teacher, source, stage, one)


def _sample(recipe: Recipe, sets: Sequence[NamedSet]) -> list[Utterance]:
    """Return utterances that the teacher may read: of the probe, or of the first stage that the teacher takes part in,
    or of an evaluation set."""
    of_teacher = [one for stage, one in zip(recipe.stages, sets, strict=False) if stage.type != "sft"]
    probes = [one for one in sets if one.use == "probe"]
    others = [one for one in sets if one.use == "evaluation"]
    return spread((*probes, *of_teacher, *others, *sets)[0].utterances, SAMPLE)


def _written_forms(teacher: Recognizer | ServedTeacher, source: AudioSource, labeled: NamedSet) -> list[CheckFinding]:
    """Compare labels with the teacher's transcripts; utterances that the teacher cannot read are left out."""
    sample = _readable(teacher, [u for u in labeled.utterances if u.text])
    if not sample:
        return []
    written = transcribe(teacher, source, sample, Decoding(), batch_size=COMPARED)
    return check_written_forms([u.text or "" for u in sample], [written[u.id].text for u in sample], labeled.name)


def _cut_teacher_data(
    teacher: Recognizer | ServedTeacher, source: AudioSource, stage: TeacherDataStage, data: NamedSet
) -> list[CheckFinding]:
    """Let the teacher write some transcripts of a stage whose limit on length is lower than its audio would give."""
    sample = _readable(teacher, data.utterances)
    if not sample or stage.transcription.limit >= token_limit(data.utterances):
        return []
    decoding = Decoding(max_new_tokens=stage.transcription.limit)
    written = transcribe(teacher, source, sample, decoding, batch_size=COMPARED)
    return [check_cut_teacher_data(data.name, stage, [written[u.id].finished for u in sample])]


def _readable(teacher: Recognizer | ServedTeacher, utterances: Sequence[Utterance]) -> list[Utterance]:
    """Return some utterances; those that the teacher cannot read are left out."""
    found = [u for u in utterances if getattr(u, teacher.reads) is not None]
    sample = [u if teacher.takes_context else replace(u, context=None) for u in spread(found, COMPARED)]
    refused = {finding.id for finding in errors(check_models(Use(sample, (teacher,))))}
    return [u for u in sample if u.id not in refused]


def _memory_needs(
    recipe: Recipe,
    student: Recognizer,
    teacher: Recognizer | ServedTeacher | None,
    stages: Sequence[Sequence[Utterance]],
    processes: int,
) -> dict[str, tuple[MemoryNeed, int]]:
    """Return what each stage takes by its name, and its utterances in a backward pass."""
    shapes = [
        None if model is None or isinstance(model, ServedTeacher) else Shape.from_network(model.family, model.generator)
        for model in (student, teacher)
    ]
    assert shapes[0] is not None
    needs = {}
    for stage, utterances in zip(recipe.stages, stages, strict=True):
        seconds = max((length(u) for u in utterances if u.audio is not None), default=0.0)
        need = training_memory(shapes[0], shapes[1], seconds, token_limit(utterances))
        share = -(-stage.batch_size // processes)
        needs[stage.name] = (need, min(share, stage.micro_batch_size or share))
    return needs
