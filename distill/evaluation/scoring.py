"""Scoring of transcripts: corpus word, mixed and character error rates with intervals.

The corpus error rate is the sum of all errors over the sum of all reference lengths, not a mean of rates: short
utterances would otherwise count as much as long ones. Edit counts are those of jiwer.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import jiwer
import numpy as np
from numpy.typing import NDArray

from overlap.errors import UserError
from overlap.estimates.bootstrap import DRAWS, unseen_errors
from overlap.estimates.clusters import Over, resampled
from overlap.estimates.estimate import Estimate
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.summary import estimate
from overlap.plain_json import plain

from .. import normalize as normalize
from ..normalize import Normalizer
from ..normalize.plain import UNSPACED

_MIXED_TOKEN = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")

UNITS = {"wer": "words", "mer": "tokens", "cer": "characters"}
"""What each error rate counts."""


@dataclass(frozen=True, eq=False)
class EditCounts:
    """Edit counts of each utterance at minimum edit distance, in words, mixed tokens or characters.

    Attributes:
        hits: Reference tokens found, int64 of shape [utterances], like the others.
        substitutions: Reference tokens replaced.
        deletions: Reference tokens left out.
        insertions: Hypothesis tokens without counterpart.
    """

    hits: NDArray[np.int64]
    substitutions: NDArray[np.int64]
    deletions: NDArray[np.int64]
    insertions: NDArray[np.int64]

    @property
    def errors(self) -> NDArray[np.int64]:
        """Substitutions + deletions + insertions, of shape [utterances]."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_lengths(self) -> NDArray[np.int64]:
        """Tokens of the reference, of shape [utterances]."""
        return self.hits + self.substitutions + self.deletions


@dataclass(frozen=True, kw_only=True)
class ErrorRate(Estimate):
    """A corpus error rate with its interval, and the counts that it comes from.

    The value is a proportion that insertions can bring above 1, and NaN without tokens in the references. The interval
    is that of `score_transcripts`, NaN with fewer than two non-empty references.

    Attributes:
        substitutions: Reference tokens replaced.
        deletions: Reference tokens left out.
        insertions: Hypothesis tokens without counterpart.
    """

    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        """Substitutions + deletions + insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def total(self) -> int:
        """Tokens of all references."""
        return self.n_positions

    def to_dict(self) -> dict[str, float | int]:
        """Return the numbers that `evaluations.jsonl` holds, by name."""
        names = ("value", "low", "high", "errors", "total", "substitutions", "deletions", "insertions")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, eq=False)
class TranscriptScore:
    """Error rates of hypotheses against references, and the counts that they come from.

    Attributes:
        wer: Word error rate; means nothing for scripts without spaces.
        mer: Mixed error rate: each Chinese character or Japanese kana is a token, and each word of other scripts. For
            Mandarin it is what most publish as character error rate.
        cer: Character error rate, spaces between words counted.
        rate: Which of `wer` and `mer` to report, by the normalizer.
        ids: Utterance ids, in the order of the counts.
        compared: Reference and hypothesis of each utterance as `rate` counts them: words, or mixed tokens, after
            normalization, separated by spaces.
        words: Edit counts in words, per utterance.
        mixed: Edit counts in mixed tokens, per utterance.
        characters: Edit counts in characters, per utterance.
        normalizer: Name of the normalizer applied to both sides.
        normalizer_version: Its version.
        n_empty_references: Utterances whose normalized reference is empty: all of their hypothesis is inserted.
        n_empty_hypotheses: Utterances whose normalized hypothesis is empty.
        level: Level of the intervals.
        over: Unit of the bootstrap, see :func:`overlap.estimates.clusters.resampled`.
        n_over: Number of these units.
    """

    wer: ErrorRate
    mer: ErrorRate
    cer: ErrorRate
    rate: Literal["wer", "mer"]
    ids: tuple[str, ...]
    compared: tuple[tuple[str, str], ...]
    words: EditCounts
    mixed: EditCounts
    characters: EditCounts
    normalizer: str
    normalizer_version: str
    n_empty_references: int
    n_empty_hypotheses: int
    level: float
    over: Over
    n_over: int

    @property
    def n_utterances(self) -> int:
        """Utterances scored."""
        return len(self.ids)

    def to_dict(self) -> dict[str, Any]:
        """Return rates and counts of the corpus as JSON can hold them, NaN as ``None``; of `wer` and `mer` only
        `rate`."""
        return {
            self.rate: plain(getattr(self, self.rate).to_dict()),
            "cer": plain(self.cer.to_dict()),
            "normalizer": self.normalizer,
            "normalizer_version": self.normalizer_version,
            "interval": {"over": self.over, "n": self.n_over},
            "n_utterances": self.n_utterances,
            "n_empty_references": self.n_empty_references,
            "n_empty_hypotheses": self.n_empty_hypotheses,
        }

    def __str__(self) -> str:
        return "\n".join(
            [
                *(self._line(name, getattr(self, name)) for name in (self.rate, "cer")),
                f"{self.n_utterances} utterances ({self.n_empty_references} empty references, "
                f"{self.n_empty_hypotheses} empty hypotheses), normalizer {self.normalizer} {self.normalizer_version}",
            ]
        )

    def _line(self, name: str, rate: ErrorRate) -> str:
        level = f"{100 * self.level:g} % interval"
        if math.isnan(rate.low):
            interval = f"no {level}: that takes two {self.over} or more with a reference"
        else:
            interval = f"{level} over {self.n_over} {self.over} {100 * rate.low:.2f} to {100 * rate.high:.2f} %"
        value = "undefined" if math.isnan(rate.value) else f"{100 * rate.value:.2f} %"
        return (
            f"{name.upper()} {value} ({interval}): "
            f"{rate.errors} errors ({rate.substitutions} substitutions, {rate.deletions} deletions, "
            f"{rate.insertions} insertions) in {rate.total} {UNITS[name]}"
        )


def score_transcripts(
    references: Mapping[str, str] | Sequence[str],
    hypotheses: Mapping[str, str] | Sequence[str],
    *,
    normalizer: Normalizer | str,
    speakers: Mapping[str, Any] | Sequence[Any] | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> TranscriptScore:
    """Return the corpus word, mixed and character error rates, with intervals from a bootstrap over speakers or
    utterances.

    Words are what spaces separate. The mixed error rate is for scripts without spaces (Chinese, Japanese) and for
    speech that switches between them and others: it is the measure of Mandarin-English benchmarks (such as that of Shi,
    Feng & Xie, arXiv 2007.05916) and what WeNet's scoring counts. Characters include the spaces between words, as in
    jiwer and most English and European results. An utterance whose reference is empty adds its insertions to the errors
    and nothing to the total.

    The bootstrap resamples speakers with all of their utterances if every utterance names its speaker and there are
    enough of them (:func:`overlap.estimates.clusters.resampled`), otherwise utterances (Bisani & Ney, ICASSP 2004). All
    rates share the resamples, and the intervals are studentized like those of overlap statistics
    (:func:`overlap.estimates.summary.estimate`). If all clusters have the same rate, such as 0 or 1, the bounds are the
    rates that could have remained unobserved (:func:`overlap.estimates.bootstrap.unseen_errors`).

    Args:
        references: Reference transcripts by utterance id, or in order.
        hypotheses: Hypotheses by the same ids, or in the same order. A missing hypothesis is an error, not an empty
            string.
        normalizer: What to apply to both sides: a normalizer or the name of one.
        speakers: Who speaks, by the same ids or in the same order; None or NaN where it is not known.
        level: Level of the intervals.
        draws: Bootstrap resamples, at least 2.
        seed: Seed of the resampling. With ids, the result does not depend on the order of the mappings.

    Returns:
        The score.

    Raises:
        UserError: Ids or lengths that differ, no utterances, a transcript that is not a string, an unknown
            normalizer, or a level or number of draws out of range.

    Examples:
        >>> score = score_transcripts({"a": "call three", "b": "stop"}, {"b": "Stop.", "a": "call"}, normalizer="basic")
        >>> score.wer.errors, score.wer.total, round(score.wer.value, 3)
        (1, 3, 0.333)
    """
    if isinstance(normalizer, str):
        normalizer = normalize.normalizer(normalizer)
    ids, raw_references, raw_hypotheses = _paired(references, hypotheses)
    normal_references = _normalized(ids, raw_references, normalizer, side="reference")
    normal_hypotheses = _normalized(ids, raw_hypotheses, normalizer, side="hypothesis")

    words = _counts(jiwer.process_words, normal_references, normal_hypotheses)
    apart = tuple(list(map(spaced, side)) for side in (normal_references, normal_hypotheses))
    mixed = _counts(jiwer.process_words, *apart)
    characters = _counts(jiwer.process_characters, normal_references, normal_hypotheses)
    counts = {"wer": words, "mer": mixed, "cer": characters}
    named = _named(ids, speakers)
    over = resampled(named)
    # Utterances keep the order of their ids, which resampling uses; speakers are sorted by name.
    names, member = (
        np.unique(list(map(str, named)), return_inverse=True) if over == "speakers" else (ids, range(len(ids)))
    )
    rates = error_rates(list(names), member, counts, level=level, draws=draws, seed=seed)
    return TranscriptScore(
        wer=rates["wer"],
        mer=rates["mer"],
        cer=rates["cer"],
        rate=normalizer.rate,
        ids=tuple(ids),
        compared=tuple(
            zip(*(apart if normalizer.rate == "mer" else (normal_references, normal_hypotheses)), strict=True)
        ),
        words=words,
        mixed=mixed,
        characters=characters,
        normalizer=normalizer.name,
        normalizer_version=normalizer.version,
        n_empty_references=sum(not text.strip() for text in normal_references),
        n_empty_hypotheses=sum(not text.strip() for text in normal_hypotheses),
        level=level,
        over=over,
        n_over=len(names),
    )


def _named(ids: list[str], speakers: Mapping[str, Any] | Sequence[Any] | None) -> list[Any]:
    """Return the speaker of each utterance, None if not known."""
    if speakers is None:
        return [None] * len(ids)
    if isinstance(speakers, Mapping):
        return [speakers.get(id_) for id_ in ids]
    if len(speakers) != len(ids):
        raise UserError(f"{len(speakers)} speakers and {len(ids)} utterances; give one for each, None where unknown")
    return list(speakers)


def _paired(
    references: Mapping[str, str] | Sequence[str], hypotheses: Mapping[str, str] | Sequence[str]
) -> tuple[list[str], list[str], list[str]]:
    if isinstance(references, str) or isinstance(hypotheses, str):
        raise UserError("a single string was given; put transcripts into a mapping from utterance id, or into a list")
    if isinstance(references, Mapping) and isinstance(hypotheses, Mapping):
        missing, surplus = sorted(references.keys() - hypotheses.keys()), sorted(hypotheses.keys() - references.keys())
        if missing or surplus:
            parts = [
                f"{len(found)} {what} ({', '.join(map(repr, found[:5]))}{', …' if len(found) > 5 else ''})"
                for found, what in ((missing, "references have no hypothesis"), (surplus, "hypotheses no reference"))
                if found
            ]
            raise UserError(
                f"utterance ids differ: {' and '.join(parts)}; score exactly the utterances of the references, and "
                "give an empty string where the model wrote nothing"
            )
        ids = sorted(references)
        paired = ids, [references[i] for i in ids], [hypotheses[i] for i in ids]
    elif isinstance(references, Mapping) or isinstance(hypotheses, Mapping):
        raise UserError("one side is a mapping and the other is not; give both by utterance id or both in order")
    elif len(references) != len(hypotheses):
        raise UserError(f"{len(references)} references and {len(hypotheses)} hypotheses; give one hypothesis for each")
    else:
        paired = [str(i) for i in range(len(references))], list(references), list(hypotheses)
    if not paired[0]:
        raise UserError("there are no utterances to score; give at least one reference and hypothesis")
    return paired


def _normalized(ids: list[str], texts: list[str], normalizer: Normalizer, *, side: str) -> list[str]:
    for name, text in zip(ids, texts, strict=True):
        if not isinstance(text, str):
            raise UserError(
                f"utterance {name!r}: its {side} is {text!r}, not a string; give text, empty if nothing is said"
            )
    return [normalizer.apply(text) for text in texts]


def spaced(text: str) -> str:
    """Return a text with spaces between its mixed tokens."""
    return " ".join(_MIXED_TOKEN.findall(text))


def _counts(
    process: Callable[[str, str], jiwer.WordOutput | jiwer.CharacterOutput],
    references: list[str],
    hypotheses: list[str],
) -> EditCounts:
    outputs = [process(reference, hypothesis) for reference, hypothesis in zip(references, hypotheses, strict=True)]
    table = np.array([(o.hits, o.substitutions, o.deletions, o.insertions) for o in outputs], dtype=np.int64)
    return EditCounts(*table.T)


def error_rates(
    names: Sequence[str],
    member: Sequence[int] | NDArray[np.int64],
    counts: Mapping[str, EditCounts],
    *,
    level: float,
    draws: int,
    seed: int,
) -> dict[str, ErrorRate]:
    """Return error rates with intervals over clusters.

    Args:
        names: Of the clusters.
        member: [utterances] the number of each one's cluster.
        counts: Edit counts by name of the rate.
        level: Level of the intervals.
        draws: Bootstrap resamples.
        seed: Of the resampling.
    """
    errors, totals = np.zeros((2, len(names), len(counts)), np.int64)
    np.add.at(errors, member, np.stack([c.errors for c in counts.values()], axis=1))
    np.add.at(totals, member, np.stack([c.reference_lengths for c in counts.values()], axis=1))
    sums = GroupSums(tuple(counts), tuple(names), errors.astype(np.float64), totals, np.zeros_like(totals))
    estimates = estimate(sums, limits=(0.0, math.inf), level=level, draws=draws, seed=seed)
    return {name: _error_rate(edits, estimates[name], level) for name, edits in counts.items()}


def _error_rate(edits: EditCounts, found: Estimate, level: float) -> ErrorRate:
    if found.standard_error == 0:  # an error rate has no upper limit, so `estimate` sets both bounds to the value
        low, high = unseen_errors(found.value, found.n_groups, found.n_positions, level)
        found = replace(found, low=low, high=high)
    names = ("substitutions", "deletions", "insertions")
    return ErrorRate(**vars(found), **{name: int(getattr(edits, name).sum()) for name in names})
