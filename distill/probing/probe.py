"""Overlap of a teacher-student pair on a set of utterances, on named states, with a position funnel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import overlap
from overlap.bounds import BoundsSummary
from overlap.definitions import Ranges
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.sequences import sequence_values, stop_density_sums
from overlap.estimates.summary import estimate
from overlap.version import DISTRIBUTION, SCHEMA, __version__
from overlap.vocab.coverage import Coverage
from overlap.weights import RULES, RuleInputs, ShadowPanel, shadow_panel

from ..data.audio import duration
from ..data.batch import AudioSource, Batch
from ..data.manifest import Utterance
from ..evaluation.transcribe import Progress
from ..limits import with_token_limit
from ..models import Recognizer, Transcripts
from ..recipe import Decoding, SupportSettings
from ..recipe.gate_statistics import UNDECIDED
from ..scoring.local_or_served import compare
from ..scoring.pair import Pair
from ..scoring.rule_inputs import rule_inputs
from ..teacher_data.labels import labels
from .against_references import AgainstReferences, ReferenceReading, is_labeled
from .probe_sums import ProbeSums
from .trace import trace_rows

Rollouts = Mapping[str, tuple[Sequence[int], bool]]
"""Recorded rollouts by utterance id: token ids, and whether they end in end of text."""


@dataclass(frozen=True)
class StateProbe:
    """Overlap on the states of one kind of transcripts.

    Attributes:
        states: `student`, `fixed`, `teacher` or `reference`.
        estimates: Token and sequence statistics with intervals; for a served teacher, the exact ones.
        funnel: Position funnel.
        coverage: Coverage of the map between two vocabularies; None if there is only one.
        rollouts: The transcripts that were scored, by utterance id.
        traces: Rows for `traces/`, one per traced utterance.
        bounds: Lower and upper bounds of all statistics of a served teacher; None for a local one.
        texts: The transcripts as text, by utterance id.
        forms: Statistics over some of the positions, see `overlap.definitions.forms`: `top1_agreement.without_repeats`.
        panel: What rules that weight single positions would keep; on the student's states with a local teacher only.
        sums: Sums and counts of all `readings` by utterance id; every utterance is there. With `references` also of
            the error rate.
        recordings: The recording of each utterance that is a piece of one. All intervals are over recordings; `sums`
            are not yet added up by recording.
        ranges: Limits of the statistics.
        references: What the transcripts say against reference texts; None if nobody asked, or there are no texts.
    """

    states: str
    estimates: overlap.OverlapSummary
    funnel: overlap.Funnel
    coverage: Coverage | None
    rollouts: Rollouts
    traces: list[dict[str, Any]] = field(default_factory=list)
    bounds: BoundsSummary | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    forms: Mapping[str, overlap.Estimate] = field(default_factory=dict)
    panel: ShadowPanel | None = None
    sums: GroupSums = field(default_factory=lambda: GroupSums.empty(()))
    recordings: Mapping[str, str] = field(default_factory=dict)
    ranges: Ranges = field(default_factory=Ranges)
    references: ReferenceReading | None = None

    @property
    def readings(self) -> dict[str, overlap.Estimate]:
        """The estimates and their forms, and both bounds of each inexact one: `forward_kl.lower` and `.upper`."""
        ends = {} if self.bounds is None else self.bounds.ends()
        undecided = {name: end for name, end in ends.items() if name.split(".")[0] in UNDECIDED}
        return {**self.estimates, **self.forms, **undecided}

    @property
    def about(self) -> dict[str, Any]:
        """Metadata of a file of traces: version, states and settings."""
        return {
            "schema": SCHEMA,
            "versions": {DISTRIBUTION: __version__},
            "states": self.states,
            "k": self.estimates.k,
            "temperature": self.estimates.temperature,
        }


def probe(
    pair: Pair,
    source: AudioSource,
    utterances: Sequence[Utterance],
    support: SupportSettings,
    decoding: Decoding,
    *,
    states: str = "student",
    recorded: Rollouts | None = None,
    teacher_rollouts: Rollouts | None = None,
    normalizer: str | None = None,
    recordings: Mapping[str, str] | None = None,
    batch_size: int = 32,
    traced: int = 0,
    progress: Progress | None = None,
) -> StateProbe:
    """Measure overlap on one kind of states.

    Args:
        pair: The two recognizers; everything is in the student's ids.
        source: Reads the audio.
        utterances: The probe set.
        support: k and temperature.
        decoding: How transcripts are written (states `student` and `teacher`).
        states: Whose transcripts: the student's now, the teacher's, the references, or `fixed` recorded ones.
        recorded: Transcripts for `fixed`; for other states, existing ones to reuse.
        teacher_rollouts: The teacher's transcripts in the student's tokens, for the form `past_teacher`.
        normalizer: Compare the transcripts with the reference texts, if there are any, under this text normalizer; None
            does not.
        recordings: The recording of each utterance that is a piece of one: pieces of a recording are not independent,
            so intervals are over recordings. None: every utterance is one of its own.
        batch_size: Utterances at once.
        traced: How many utterances, from the first, get a trace.
        progress: Called after each batch.
    """
    student, decoding = pair.student, with_token_limit(decoding, utterances)
    recordings = recordings or {}
    sums = ProbeSums(support.k, states, recordings)
    funnel = overlap.Funnel.empty()
    counted: list[GroupSums] = []
    rollouts: dict[str, tuple[Sequence[int], bool]] = {}
    texts: dict[str, str] = {}
    recut: list[float] = []
    traces: list[dict[str, Any]] = []
    read_by_rules: list[RuleInputs] = []
    against = AgainstReferences(pair, normalizer) if normalizer is not None and is_labeled(utterances) else None
    for batch in source.batches(utterances, batch_size):
        if recorded is None:
            transcripts = write_transcripts(pair, batch, states, decoding)
        else:
            transcripts = _replay([recorded[utterance.id] for utterance in batch.utterances], student)
        scores = compare(pair, batch, transcripts, support)
        names = [utterance.id for utterance in batch.utterances]
        sums.add(scores, names, None if teacher_rollouts is None else _lengths(teacher_rollouts, names))
        if states == "student" and pair.server is None:
            read_by_rules.append(rule_inputs(scores))
        funnel = funnel + scores.funnel
        counted.append(GroupSums.from_values({"used": scores.used.double()}, names, mask=transcripts.mask))
        n_positions = transcripts.mask.sum(-1).double()
        recut += (pair.recut(transcripts).sum(-1) / n_positions).tolist()
        decoded = student.decode(transcripts)
        if against is not None:
            against.add(scores, batch.utterances, decoded)
        if len(rollouts) < traced:
            kept = traced - len(rollouts)
            traces += trace_rows(scores, batch.utterances, decoded, student, states)[:kept]
        for row, utterance in enumerate(batch.utterances):
            ids = transcripts.ids[row][transcripts.mask[row]].tolist()
            rollouts[utterance.id] = (ids, bool(transcripts.finished[row]))
            texts[utterance.id] = decoded[row]
        if progress:
            progress(len(rollouts), len(utterances))
    names = [utterance.id for utterance in utterances]
    values = _sequence_values(utterances, texts, rollouts, recut)
    ends = stop_density_sums(*_lengths_and_ends(utterances, rollouts), names)
    of_sequences = GroupSums.side_by_side([GroupSums.from_values(values, names), ends, GroupSums.merged(counted)])
    estimates = {**sums.estimates(), **estimate(of_sequences.regrouped(recordings))}
    summary = overlap.OverlapSummary(estimates, k=support.k, temperature=support.temperature, states=states)
    bounds = sums.bounds()
    found = pair.coverage(estimates if bounds is None else None)
    clusters = [recordings.get(name, name) for name in rollouts]
    panel = _panel(RuleInputs.joined(read_by_rules), clusters) if read_by_rules else None
    kept = GroupSums.side_by_side([sums.sums(), of_sequences])
    references = None if against is None else against.reading(kept)
    return StateProbe(
        states,
        summary,
        funnel,
        found,
        rollouts,
        traces,
        bounds,
        texts,
        sums.forms(),
        panel,
        kept if references is None else GroupSums.side_by_side([kept, references.errors]),
        recordings,
        sums.ranges,
        references,
    )


def write_transcripts(pair: Pair, batch: Batch, states: str, decoding: Decoding) -> Transcripts:
    """Return the transcripts of a batch that are scored, in the student's tokens.

    Args:
        pair: The two recognizers.
        batch: The utterances.
        states: Whose: `student`, `teacher`, or `reference` for the manifest's text.
        decoding: Settings of the decoding.
    """
    if states == "reference":
        return labels(pair.student, batch.utterances)
    writer = pair.teacher if states == "teacher" else pair.student
    written = writer.rollout(
        batch.prompt(writer),
        max_new_tokens=decoding.limit,
        sample=decoding.sample,
        temperature=decoding.temperature,
    )
    return pair.in_students_ids(written, writer)


def _lengths(rollouts: Rollouts, names: Sequence[str]) -> torch.Tensor:
    """Return positions of transcripts, their ends included; −1 where one did not end."""
    return torch.tensor([len(ids) if finished else -1 for ids, finished in map(rollouts.__getitem__, names)])


def _lengths_and_ends(utterances: Sequence[Utterance], rollouts: Rollouts) -> tuple[list[int], list[bool]]:
    """Return the tokens of each transcript, its end not counted, and whether it ended."""
    ended = [rollouts[u.id][1] for u in utterances]
    return [len(rollouts[u.id][0]) - int(end) for u, end in zip(utterances, ended, strict=True)], ended


def _panel(inputs: RuleInputs, utterances: Sequence[str]) -> ShadowPanel:
    """Return what every rule would keep of the probe's positions; for rules on a batch, the probe is the batch."""
    return shadow_panel({name: rule.weights(inputs) for name, rule in RULES.items()}, utterances, inputs.mask)


def _replay(rows: Sequence[tuple[Sequence[int], bool]], student: Recognizer) -> Transcripts:
    length = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), length), student.tokens.end_of_text, dtype=torch.long)
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for row, (tokens, _) in enumerate(rows):
        ids[row, : len(tokens)] = torch.as_tensor(tokens, dtype=torch.long)
        mask[row, : len(tokens)] = True
    device = student.tokens.blocked.device
    return Transcripts(ids.to(device), mask.to(device), torch.tensor([end for _, end in rows], device=device))


def _sequence_values(
    utterances: Sequence[Utterance], texts: Mapping[str, str], rollouts: Rollouts, recut: Sequence[float]
) -> dict[str, np.ndarray]:
    """Return repetition, length, ending and recut share of each utterance's transcript."""
    written = [texts[u.id] for u in utterances]
    return sequence_values(
        texts=written,
        n_tokens=[len(rollouts[u.id][0]) - int(rollouts[u.id][1]) for u in utterances],
        finished=[rollouts[u.id][1] for u in utterances],
        references=[u.text for u in utterances],
        seconds=[duration(u) for u in utterances],
        recut=recut,
    )
