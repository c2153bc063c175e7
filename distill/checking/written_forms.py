"""Whether labels and the teacher's transcripts of the same utterances are written in one form.

After supervised training the student writes in the form of the labels. If the teacher writes in another, the two agree
on almost no token, and on-policy training would begin from there.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence

import numpy as np

import overlap
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.summary import estimate

from .finding import CheckFinding

CHECK = "written form of labels and teacher"
DIFFERS = 0.1
"""Share of utterances in different forms that is certainly more than chance mistakes of the teacher."""


def case_of(text: str) -> str:
    """Return `upper case`, `lower case` or `both cases`; empty without letters that have a case."""
    cased = [character for character in text if character.lower() != character.upper()]
    if not cased:
        return ""
    upper = sum(character.isupper() for character in cased)
    return "upper case" if upper == len(cased) else "both cases" if upper else "lower case"


def numerals_of(text: str) -> str:
    """Return `numerals` or `no numerals`."""
    return "numerals" if any(unicodedata.category(character) in ("Nd", "No") for character in text) else "no numerals"


def punctuation_of(text: str) -> str:
    """Return `punctuation` or `no punctuation`; apostrophes and hyphens within words are none."""
    marks = (c for c in text if unicodedata.category(c).startswith("P") and c not in "'’-‐")
    return "punctuation" if any(marks) else "no punctuation"


FORMS: Mapping[str, Callable[[str], str]] = {
    "case": case_of,
    "numerals": numerals_of,
    "punctuation": punctuation_of,
}


def check_written_forms(labels: Sequence[str], transcripts: Sequence[str], name: str) -> list[CheckFinding]:
    """Return the share of utterances whose label and transcript differ in case, numerals or punctuation.

    An utterance where one side has no letters with a case is not judged by case.

    Args:
        labels: Texts of some utterances.
        transcripts: Of the teacher, of the same utterances.
        name: Of the set.
    """
    rows = []
    for form, of in FORMS.items():
        pairs = [(of(label), of(transcript)) for label, transcript in zip(labels, transcripts, strict=True)]
        values = np.array([float(one != other) if one and other else math.nan for one, other in pairs])
        sums = GroupSums.from_values({form: values}, np.arange(len(values)))
        differing = estimate(sums, limits=(0.0, 1.0))[form]
        rows.append(_row(form, differing, labels, transcripts, pairs, name))
    if any(row.severity != "ok" for row in rows):
        return [row for row in rows if row.severity != "ok"]
    n = len(labels)
    said = f"case, numerals and punctuation of labels and transcripts are alike in {n} utterances of {name}"
    return [CheckFinding("ok", CHECK, said)]


def _row(
    form: str,
    differing: overlap.Estimate,
    labels: Sequence[str],
    transcripts: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    name: str,
) -> CheckFinding:
    n = round(differing.value * differing.n_positions) if differing.n_positions else 0
    if not n:
        return CheckFinding("ok", CHECK, f"the same {form} in {differing.n_positions} utterances of {name}")
    first = next(i for i, (one, other) in enumerate(pairs) if one and other and one != other)
    said = (
        f"different {form} in {n} of {differing.n_positions} utterances of {name} "
        f"({differing.shown(0, 100)} %), such as {labels[first]!r} ({pairs[first][0]}) and the teacher's "
        f"{transcripts[first]!r} ({pairs[first][1]})"
    )
    if differing.n_groups > 1 and differing.low > DIFFERS:
        remedy = (
            "write the labels as the teacher writes, or keep a stage of teacher data before on-policy training, "
            "with a gate on agreement"
        )
        return CheckFinding("warning", CHECK, said, remedy)
    return CheckFinding("note", CHECK, said)
