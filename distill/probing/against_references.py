"""What a probe says against reference texts: which transcripts are right, whether statistics tell, and calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from overlap.calibration import CalibrationReadings, Outcomes, calibration, token_outcomes, word_outcomes
from overlap.calibration.readings import Model, Unit
from overlap.estimates.clusters import resampled
from overlap.estimates.group_sums import GroupSums
from overlap.signal import TEACHERS_WORD, SignalReadings, utterance_signal
from overlap.strata import align_to_reference, correctness

from ..data.groups import value_of
from ..data.manifest import Utterance
from ..evaluation.evaluation import counted
from ..evaluation.scoring import UNITS, spaced
from ..normalize import normalizer as find_normalizer
from ..scoring.pair import Pair
from ..scoring.scores import Scores
from .trace import spelling

ERROR_RATE = "error_rate"
"""Name of the sums whose average is the error rate."""
SIGNAL_STATISTICS = (
    TEACHERS_WORD,
    "student_logprob",
    "top1_agreement",
    "total_variation",
    "student_mass",
    "teacher_mass",
    "overlap_ratio",
    "union_size",
)
"""Statistics that are asked whether they tell right transcripts from wrong ones. More of them would cost power: their
verdicts are corrected for their number."""
MODELS: tuple[Model, ...] = ("student", "teacher")


@dataclass(frozen=True, eq=False)
class ReferenceReading:
    """What a probe says against reference texts.

    Attributes:
        errors: Sums of the error rate by utterance: errors and words of the reference (mixed tokens, if the normalizer
            requires them).
        signal: Whether statistics tell right transcripts from wrong ones.
        calibration: Of both models at tokens and words.
    """

    errors: GroupSums
    signal: SignalReadings
    calibration: CalibrationReadings


@dataclass(frozen=True, eq=False)
class _Row:
    """A transcript: [length] ids and bytes of its tokens, which positions were used, both models' log-probabilities."""

    ids: np.ndarray
    pieces: list[bytes | None]
    used: np.ndarray
    logprobs: dict[Model, np.ndarray]
    text: str


class AgainstReferences:
    """Collects the student's transcripts batch by batch.

    Args:
        pair: The two models.
        normalizer: Name of the text normalizer of errors.

    Raises:
        UserError: An unknown normalizer.
    """

    def __init__(self, pair: Pair, normalizer: str) -> None:
        self._normalizer = find_normalizer(normalizer)
        self._tokens = pair.student.tokens
        self._spelled = spelling(pair.student.tokenizer, pair.student.tokens.times)
        self._utterances: list[Utterance] = []
        self._rows: list[_Row] = []

    def add(self, scores: Scores, utterances: Sequence[Utterance], texts: Sequence[str]) -> None:
        """Add a batch: its scores, utterances and decoded transcripts."""
        written, statistics = scores.transcripts, scores.statistics()
        ids, there, used = (part.cpu().numpy() for part in (written.ids, written.mask, scores.used))
        teachers = statistics.get("teacher_logprob")
        if teachers is None:
            listed = scores.teacher_logprobs(written.ids[..., None])[..., 0]
            teachers = listed.masked_fill(~scores.used, float("nan"))
        logprobs = [part.double().cpu().numpy() for part in (statistics["student_logprob"], teachers)]
        for row, (utterance, text) in enumerate(zip(utterances, texts, strict=True)):
            keep = there[row]
            own = ids[row][keep]
            pieces = [self._spelled(token) for token in own.tolist()]
            of: dict[Model, np.ndarray] = {model: part[row][keep] for model, part in zip(MODELS, logprobs, strict=True)}
            self._rows.append(_Row(own, pieces, used[row][keep], of, text))
            self._utterances.append(utterance)

    def reading(self, sums: GroupSums) -> ReferenceReading:
        """Compare everything so far with the references.

        Args:
            sums: Of the same transcripts' statistics by utterance id.
        """
        about = f"{self._normalizer.name} {self._normalizer.version}"
        errors, words = self._errors()
        names = [utterance.id for utterance in self._utterances]
        speakers = [utterance.extra.get("speaker") for utterance in self._utterances]
        unlisted = self._unlisted()
        values = {name: self._means(name, sums, names) for name in SIGNAL_STATISTICS}
        signals = utterance_signal(values, errors=errors, words=words, speakers=speakers)
        why = {name: unlisted if name == TEACHERS_WORD else _NOT_EXACT for name in values if name not in sums.names}
        why = {name: reason for name, reason in why.items() if reason}
        return ReferenceReading(
            _sums_of(errors, words, names),
            SignalReadings(signals, about, why),
            self._calibration(about, speakers, unlisted),
        )

    def _errors(self) -> tuple[np.ndarray, np.ndarray]:
        """Errors of each transcript and words of its reference, as an evaluation counts them; NaN without one."""
        rows = [{"reference": u.text, "text": r.text} for u, r in zip(self._utterances, self._rows, strict=True)]
        unit, found = UNITS[self._normalizer.rate], counted(rows, self._normalizer.name)
        errors, words = (
            np.array([np.nan if row[f"{unit}.{what}"] is None else row[f"{unit}.{what}"] for row in found])
            for what in ("errors", "total")
        )
        return errors, words

    def _means(self, statistic: str, sums: GroupSums, names: Sequence[str]) -> np.ndarray:
        """The mean of a statistic over each utterance's used positions, NaN where it has none or is not exact."""
        if statistic not in sums.names:
            if statistic != TEACHERS_WORD or self._unlisted():
                return np.full(len(names), np.nan)
            return np.array(
                [row.logprobs["teacher"][row.used].mean() if row.used.any() else np.nan for row in self._rows]
            )
        column = sums.names.index(statistic)
        totals, counts = sums.sums[:, column], sums.counts[:, column]
        found = np.divide(totals, counts, out=np.full(len(totals), np.nan), where=counts > 0)
        by_name = dict(zip(sums.keys, found, strict=True))
        return np.array([by_name.get(name, np.nan) for name in names])

    def _unlisted(self) -> str:
        """Why the teacher's probabilities of the written tokens are not known; empty if all are."""
        used = np.concatenate([row.used for row in self._rows])
        unknown = np.isnan(np.concatenate([row.logprobs["teacher"] for row in self._rows])) & used
        if not unknown.any():
            return ""
        return (
            f"the teacher's probability of the written token is not known at {unknown.sum():,} of {used.sum():,} "
            "positions, for the server did not list it"
        )

    def _calibration(self, about: str, speakers: Sequence[Any], unlisted: str) -> CalibrationReadings:
        over = resampled(speakers)
        groups = [str(one) for one in (speakers if over == "speakers" else [u.id for u in self._utterances])]
        parts: dict[tuple[Model, Unit], list[Outcomes]] = {}
        for row, utterance, group in zip(self._rows, self._utterances, groups, strict=True):
            if utterance.text is not None and len(row.ids):
                for of, outcomes in self._outcomes(row, utterance.text, group).items():
                    parts.setdefault(of, []).append(outcomes)
        of_teacher: tuple[tuple[Model, Unit], ...] = (("teacher", "token"), ("teacher", "word"))
        reasons: dict[tuple[Model, Unit], str] = {of: unlisted for of in of_teacher if unlisted}
        measured = {of: calibration(_joined(found, known=of not in reasons)) for of, found in parts.items()}
        return CalibrationReadings(measured, over, about, reasons)

    def _outcomes(self, row: _Row, reference: str, group: str) -> dict[tuple[Model, Unit], Outcomes]:
        """Outcomes of one transcript, for each model and unit."""
        # Ids of this row alone, so that the table of bytes is as short as the row.
        ids, mask = np.arange(len(row.ids))[None], row.used[None]
        spelled = b"".join(piece or b"" for piece in row.pieces).decode("utf-8", "replace")
        told = reference if spelled.strip() == row.text.strip() else None  # else its text is not that of its tokens
        alignments = align_to_reference(ids, row.pieces, [told], normalize=self._units)
        ends = [number for number, token in enumerate(row.ids.tolist()) if token == self._tokens.end_of_text]
        labels = correctness(ids, row.pieces, alignments, end_of_text=ends)
        found: dict[tuple[Model, Unit], Outcomes] = {}
        for model in MODELS:
            probabilities = np.minimum(np.exp(row.logprobs[model]), 1.0)[None]
            found[model, "token"] = token_outcomes(probabilities, labels, mask=mask, groups=[group])
            found[model, "word"] = word_outcomes(ids, row.pieces, probabilities, alignments, groups=[group])
        return found

    def _units(self, text: str) -> str:
        """Return a normalized text with spaces between what an evaluation counts."""
        normal = self._normalizer.apply(text)
        return spaced(normal) if self._normalizer.rate == "mer" else normal


_NOT_EXACT = "a served teacher's top-k log-probabilities give only bounds of it"


def _sums_of(errors: np.ndarray, words: np.ndarray, names: Sequence[str]) -> GroupSums:
    known = ~np.isnan(errors)
    sums, counts = np.where(known, errors, 0.0)[:, None], np.where(known, words, 0).astype(np.int64)[:, None]
    found = GroupSums((ERROR_RATE,), tuple(names), sums, counts, (~known).astype(np.int64)[:, None])
    return GroupSums.merged([found])  # in the order of keys


def _joined(parts: Sequence[Outcomes], *, known: bool) -> Outcomes:
    """All outcomes; without confidences if these are not known."""
    confidence, correct, groups = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("confidence", "correct", "groups")
    )
    return Outcomes(confidence if known else np.full(len(confidence), np.nan), correct, groups)


def is_labeled(utterances: Sequence[Utterance]) -> bool:
    """Whether any of the utterances has a reference text."""
    return any(utterance.text is not None for utterance in utterances)


def speakers_of(utterances: Sequence[Utterance]) -> Mapping[str, str | None]:
    """The speaker of each utterance, by its id; None where the manifest names none."""
    return {utterance.id: value_of(utterance, "speaker") for utterance in utterances}
