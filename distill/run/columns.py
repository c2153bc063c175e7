"""Every file of a run directory; those that `analysis` reads are described in `analysis.run.records`."""

from __future__ import annotations

from typing import Any

from analysis.run.kinds import Integer, Number, Record, Text, optional
from analysis.run.reading_records import CalibrationReading, SignalReading
from analysis.run.records import (
    BegunVisit,
    By,
    Decision,
    Evaluation,
    Metric,
    NoSpeech,
    Probe,
    ProbeGroup,
    ProbeSum,
    ProcessRecord,
    Resolved,
    TokenRule,
    Trace,
    Transcript,
)


class State(Record):
    """State of the training loop in a checkpoint, written atomically."""

    schema_version: Integer | None = optional("as in `resolved.json`", alias="schema")
    step: Integer | None = optional("training steps taken in the run")
    stage: Integer | None = optional("index of the stage in the recipe")
    stage_step: Integer | None = optional("training steps of this visit")
    horizon: Integer | None = optional("steps of the stage's learning-rate schedule")
    entries: By[Integer] = optional("step at which each stage was last entered, by its index")
    gate: By[Any] = optional("state of the stage's gate")
    fallbacks: Integer | None = optional("fallbacks so far")
    rows: By[Integer] = optional("rows of each log: a resumed run cuts them back to these")
    visit: Integer | None = optional("number of the current visit")
    outcome: Text | None = optional("how the run ended")
    reason: Text | None = optional("why")
    best: By[Any] = optional("the best weights so far, as in `best.json`")
    best_end: By[Any] = optional("the checkpoint of the visit to which a collapse in teacher data returns")
    refused_steps: Integer | None = optional("on-policy steps in a row whose rollouts were refused")
    last_reading: By[Any] = optional("the last reading of what the stage's off-policy share follows")


class Best(Record):
    """Describes the weights beside it, which have the lowest error rate."""

    step: Integer | None = optional("training step")
    stage: Text | None = optional("its stage")
    set: Text | None = optional("evaluation set")
    rate: Text | None = optional("`wer` or `mer`")
    value: Number | None = optional("the error rate, a share")


RECORDS: dict[str, type[Record]] = {
    "resolved.json": Resolved,
    "visits.jsonl": BegunVisit,
    "decisions.jsonl": Decision,
    "evaluations.jsonl": Evaluation,
    "probes/*.parquet": Probe,
    "probe_sums/*.parquet": ProbeSum,
    "signal/*.parquet": SignalReading,
    "calibration/*.parquet": CalibrationReading,
    "probe_groups/*.parquet": ProbeGroup,
    "token_rules/*.parquet": TokenRule,
    "no_speech/*.parquet": NoSpeech,
    "traces/*.parquet": Trace,
    "transcripts/*.parquet": Transcript,
    "metrics.jsonl": Metric,
    "checkpoints/step-*/state.json": State,
    "best/step-*/best.json": Best,
    "process.json": ProcessRecord,
}
"""By path in the run directory, in the order of the page; a star stands for any name."""

OTHERS = {
    "checkpoints/step-*/*": "A student for `from_pretrained`; `optimizer.pt`; a record of its training data.",
    "best/step-*/*": "A student for `from_pretrained`.",
    ".lock": "Lock of the process that works on the run.",
    "fixed_rollouts.json*": "Recorded rollouts of the student, by utterance: token ids, and whether they end.",
    "round_trip.json*": "How often the teacher's own transcripts are encoded to other tokens than it wrote.",
    "unusable.jsonl*": "Dropped or doubtful lines of manifests, one finding per line.",
    "data_lines/*": "A digest of each manifest line, in a file named after the manifest's digest.",
    "data_changes.jsonl": "Changes of the data that the run accepted, one manifest per line.",
    "teacher-transcripts-*": "Teacher data of a stage: manifest, journal, dropped utterances, summary.",
    "trackers.json": "The trackers' runs that mirror this one, and the number of rows of each log in them.",
    "tensorboard/*": "TensorBoard's copy.",
    "wandb/*": "Weights & Biases' files.",
}
"""Files in other formats; a star in the last part of a path stands for any files below."""
