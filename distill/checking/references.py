"""Reference texts: empty ones, and characters that no transcript of a model can hold."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

import overlap
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.number_formatting import count
from overlap.estimates.summary import estimate

from ..models import Transcriber
from ..models.whisper import TIMESTAMP
from .finding import CheckFinding
from .sets import NamedSet, spread

EMPTY = "empty references"
LOST = "characters that tokenizers lose"
MOST_TEXTS = 5000
"""Texts of a set that are encoded; of larger sets, evenly spaced ones."""

MOST_LOST = 0.1
"""Share of lost characters from which on a set is of another script than its tokenizer, and no warning but an error."""

_AT_ONCE = 512


def check_empty(sets: Sequence[NamedSet]) -> list[CheckFinding]:
    """Return how many references of evaluation sets are empty under the set's normalizer.

    Empty labels of training are findings about lines.

    Args:
        sets: All sets of the recipe.
    """
    rows = []
    for one in sets:
        if one.normalize is None or not one.texts:
            continue
        n, of = sum(not one.normalize(text).strip() for text in one.texts), len(one.texts)
        found = f"{count(n)} of {count(of)} references of {one.name} are empty after normalization"
        if n == of:
            remedy = "an error rate over them is undefined; give texts, or another normalizer"
            rows.append(CheckFinding("error", EMPTY, found, remedy))
        elif n:
            remedy = "right if nothing is said there; every word of a transcript is then an insertion"
            rows.append(CheckFinding("note", EMPTY, found, remedy))
        else:
            rows.append(CheckFinding("ok", EMPTY, found))
    return rows


def check_lost_characters(sets: Sequence[NamedSet], models: Mapping[str, Transcriber]) -> list[CheckFinding]:
    """Return the share of the references' characters that a tokenizer loses when texts are encoded and decoded.

    A character is lost if the decoded text has it less often. White space and timestamps are not counted. Both texts
    are composed (Unicode NFC) or, of evaluation sets, normalized. The student learns labels without lost characters,
    and no transcript can match a reference that has them.

    Args:
        sets: All sets of the recipe.
        models: By role, `student` and `teacher`.
    """
    rows: list[CheckFinding] = []
    if not models:
        return rows
    for one in {(one.manifest, one.learned, one.name): one for one in sets}.values():
        if not one.texts or not (one.learned or one.normalize):
            continue
        found = [_of_set(one, role, model) for role, model in models.items()]
        rows += found if any(row.severity != "ok" for row in found) else [_merged(found, list(models))]
    return rows


def lost_characters(model: Transcriber, texts: Sequence[str], form: Callable[[str], str]) -> list[Counter[str]]:
    """Return the characters of each text that are missing after it was encoded and decoded.

    Args:
        model: Whose tokenizer.
        texts: The texts.
        form: Applied to a text and to what is decoded, before they are compared.
    """
    lost = []
    for start in range(0, len(texts), _AT_ONCE):
        some = list(texts[start : start + _AT_ONCE])
        for text, again in zip(some, model.decode(model.encode(some)), strict=True):
            lost.append(_characters(form(text)) - _characters(form(again)))
    return lost


def _of_set(one: NamedSet, role: str, model: Transcriber) -> CheckFinding:
    form = one.normalize or _composed
    texts = spread(one.texts, MOST_TEXTS)
    lost = lost_characters(model, texts, form)
    numbers = [(found.total(), _characters(form(text)).total()) for found, text in zip(lost, texts, strict=True)]
    n = sum(of for _, of in numbers)
    of = f"{count(n)} characters of {count(len(texts))} texts of {one.name}"
    if len(texts) < len(one.texts):
        of += f" (evenly spaced, of {count(len(one.texts))})"
    total = Counter[str]()
    for characters in lost:
        total.update(characters)
    if not total:
        return CheckFinding("ok", LOST, f"the {role}'s tokenizer loses none of {of}")
    share, interval = total.total() / n, ""
    if len(texts) < len(one.texts):
        found = _estimate(numbers)
        interval = f" [{100 * found.low:.2f}, {100 * found.high:.2f}]"
    most = ", ".join(f"{character!r} {count(n)} ×" for character, n in total.most_common(5))
    return CheckFinding(
        "error" if share >= MOST_LOST else "warning",
        LOST,
        f"the {role}'s tokenizer loses {100 * share:.2f}{interval} % of {of}: {most}",
        "write the texts in characters that it has, or take a model whose tokenizer has these",
    )


def _estimate(numbers: Sequence[tuple[int, int]]) -> overlap.Estimate:
    """Return the share of lost characters, with its interval over texts."""
    lost, of = (np.array([[pair[side]] for pair in numbers]) for side in (0, 1))
    sums = GroupSums(("lost",), tuple(range(len(numbers))), lost.astype(np.float64), of, np.zeros_like(of))
    return estimate(sums, limits=(0.0, 1.0))["lost"]


def _merged(rows: Sequence[CheckFinding], roles: Sequence[str]) -> CheckFinding:
    """Return one row for tokenizers that lose nothing."""
    if len(rows) == 1:
        return rows[0]
    both = rows[0].finding.replace(f"the {roles[0]}'s tokenizer loses none", "both tokenizers lose none", 1)
    return CheckFinding("ok", LOST, both)


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", TIMESTAMP.sub("", text))


def _characters(text: str) -> Counter[str]:
    return Counter(character for character in text if not character.isspace())
