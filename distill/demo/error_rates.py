"""The demo teacher's error rates on pool and test set: `python -m distill.demo.error_rates` writes the file.

It was trained on neither, so they should agree: if it were better on the pool, teacher data would be close to labels.
Intervals are over speakers (the synthetic voices), because errors of one speaker are correlated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from overlap.estimates.bootstrap import studentized
from overlap.estimates.estimate import Estimate
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.summary import estimate

from ..data.audio import AudioCache
from ..data.batch import AudioSource
from ..data.manifest import Utterance, read_manifest
from ..evaluation.evaluation import evaluate
from ..models import load_recognizer
from ..recipe import Decoding
from ..recipe.paths import packaged

WRITTEN = "teacher_error_rates.json"
DECODING = Decoding(max_new_tokens=48)
NORMALIZER = "spoken_digits"
RATES = ("pool", "test", "difference")

Counts = dict[str, tuple[int, int]]
"""Word errors and reference words, by speaker."""


@dataclass(frozen=True)
class Comparison:
    """A model's word error rates on two sets that it was not trained on, as proportions, with intervals over speakers.

    Attributes:
        pool: On the pool, or a part of it.
        test: On the test set.
        difference: Pool minus test.
    """

    pool: Estimate
    test: Estimate
    difference: Estimate

    @property
    def words(self) -> tuple[int, int]:
        """Reference words of pool and test."""
        return self.pool.n_positions, self.test.n_positions

    @property
    def speakers(self) -> tuple[int, int]:
        """Speakers of pool and test."""
        return self.pool.n_groups, self.test.n_groups

    @property
    def agree(self) -> bool:
        """Whether the interval of the difference contains zero."""
        return self.difference.low <= 0 <= self.difference.high

    def __str__(self) -> str:
        def percent(rate: Estimate) -> str:
            return f"{100 * rate.value:.1f} % [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"

        (pool_words, test_words), (pool_speakers, test_speakers) = self.words, self.speakers
        return (
            "The teacher was trained on neither pool nor test set: WER "
            f"{percent(self.pool)} on the pool ({pool_words:,} words, {pool_speakers} speakers), "
            f"{percent(self.test)} on the test set ({test_words:,} words, {test_speakers} speakers), which "
            f"{'agree' if self.agree else 'differ'}: difference {percent(self.difference)} (95 %, over speakers)."
        )


def count(model: str, utterances: Sequence[Utterance]) -> Counts:
    """Count a model's word errors.

    Args:
        model: Its folder.
        utterances: With text, and with a speaker each.
    """
    rows = evaluate(
        load_recognizer(model),
        AudioSource(AudioCache()),
        utterances,
        normalizer=NORMALIZER,
        decoding=DECODING,
        batch_size=40,
    ).rows
    counts: Counts = {}
    for utterance, row in zip(utterances, rows, strict=True):
        errors, words = counts.get(utterance.extra["speaker"], (0, 0))
        counts[utterance.extra["speaker"]] = (errors + row["words.errors"], words + row["words.total"])
    return counts


def compare(pool: Counts, test: Counts) -> Comparison:
    """Compare error rates on two sets of speakers.

    Args:
        pool: Counts on the pool.
        test: Counts on the test set, of other speakers.
    """
    table = np.zeros((len(pool) + len(test), 2, 2))  # speaker, errors or words, set
    table[: len(pool), :, 0] = list(pool.values())
    table[len(pool) :, :, 1] = list(test.values())
    (difference,) = studentized(table[:, :1], table[:, 1:], (1.0, -1.0))
    return Comparison(_rate(pool), _rate(test), difference)


def _rate(counts: Counts) -> Estimate:
    errors, words = np.array(list(counts.values())).T[:, :, None]
    sums = GroupSums(("wer",), tuple(counts), errors.astype(np.float64), words, np.zeros_like(words))
    return estimate(sums, limits=(0.0, math.inf))["wer"]


def written() -> Comparison:
    """Return the error rates in the shipped file of the shipped teacher."""
    read = json.loads((packaged(WRITTEN)).read_text(encoding="utf-8"))
    sizes = [*zip(read["words"], read["speakers"], strict=True)]
    sizes.append((min(read["words"]), sum(read["speakers"])))
    rates = [
        Estimate(standard_error=math.nan, n_positions=words, n_groups=speakers, **read[name])
        for name, (words, speakers) in zip(RATES, sizes, strict=True)
    ]
    return Comparison(*rates)


def main() -> None:
    """Measure the shipped teacher on the entire pool and the test set, and write the file."""
    pool, test = (
        count(str(packaged("teacher")), read_manifest(packaged(f"corpus/{name}.jsonl")))
        for name in ("pool_references", "test")
    )
    found = compare(pool, test)
    rates = {name: getattr(found, name) for name in RATES}
    tree: dict[str, Any] = {name: {"value": r.value, "low": r.low, "high": r.high} for name, r in rates.items()}
    tree |= {"words": found.words, "speakers": found.speakers}
    Path(packaged(WRITTEN)).write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    print(found)


if __name__ == "__main__":
    main()
