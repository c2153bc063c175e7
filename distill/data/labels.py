"""What is found in the labels of a manifest before they are used, and the utterances with their labels made plain."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..models import Transcriber
from ..models.labels import Label, read_labels
from ..models.languages import same_language
from ..models.whisper import TIMESTAMP
from ..places import located
from .hf.reference import is_dataset
from .manifest import MAX_PROBLEMS_SHOWN, ManifestError, Utterance


class LabelWarning(UserWarning):
    """Labels that can be used and may not be what was meant."""


@dataclass(frozen=True)
class Finding:
    """Something about a label.

    Attributes:
        severity: `error` where the label cannot be used, `warning` where it can and should be looked at, `note` where
            nothing need be done.
        id: The utterance's.
        field: Of the manifest.
        problem: What it is.
        remedy: What to do.
    """

    severity: Literal["error", "warning", "note"]
    id: str
    field: str
    problem: str
    remedy: str


def plain_labels(
    utterances: Sequence[Utterance], recogniser: Transcriber, *, learned: bool = False
) -> tuple[list[Utterance], list[Finding]]:
    """Utterances with the labels that a recogniser learns or is scored against, and what was found in them.

    A label in a form that models write (`distill.models.labels`) becomes the text alone; a language that it names is
    taken where the line has none.

    Args:
        utterances: Of a manifest; those without text stay as they are.
        recogniser: Who learns or is scored.
        learned: Whether it learns them: a model that writes points in time learns those too, and is scored without.

    Returns:
        The utterances in their order, and the findings in the order of the utterances.
    """
    findings: list[Finding] = []
    whole = [i for i, u in enumerate(utterances) if u.text is not None and _is_unicode(u.text)]
    read = read_labels([utterances[i].text or "" for i in whole], recogniser, timestamps=learned)
    labels = dict(zip(whole, read, strict=True))
    timed = learned and bool(recogniser.tokens.times)
    plain: list[Utterance] = []
    for i, utterance in enumerate(utterances):
        if label := labels.get(i):
            findings += _found(utterance, label, recogniser.name)
            if timed and label.text.strip() and not TIMESTAMP.search(label.text):
                problem = f"has no timestamps, which {recogniser.name!r} is to learn (timestamps = true)"
                remedy = "write them as in <|0.00|> call four<|2.00|>, or remove timestamps from the recipe"
                findings.append(Finding("error", utterance.id, "text", problem, remedy))
            language = utterance.language or label.language
            plain.append(replace(utterance, text=label.text, language=language) if label.removed else utterance)
            continue
        if utterance.text is not None:
            problem = "holds half of a character (a lone surrogate)"
            findings.append(Finding("error", utterance.id, "text", problem, "write the text anew, in UTF-8"))
        plain.append(utterance)
    return plain, findings


def checked_labels(
    utterances: Sequence[Utterance],
    recogniser: Transcriber,
    source: str | Path | None,
    *,
    needed: bool = True,
    learned: bool = False,
) -> list[Utterance]:
    """The same, with errors raised and the rest said once, by counts.

    Args:
        utterances: Of one manifest.
        recogniser: Who learns or is scored.
        source: The manifest, to name lines of; None where it is not known.
        needed: Whether the labels are used; otherwise none of them is a reason to stop.
        learned: Whether the recogniser learns them.

    Raises:
        ManifestError: Labels that cannot be used; names file, line, field and remedy.
    """
    plain, findings = plain_labels(utterances, recogniser, learned=learned)
    errors = [finding for finding in findings if finding.severity == "error"]
    place = "the labels" if source is None else str(source)
    if needed and errors:
        lines = {} if source is None else lines_of(source)
        told = [_told(finding, source, lines) for finding in errors[:MAX_PROBLEMS_SHOWN]]
        more = [f"… and {len(errors) - len(told)} more"] if len(errors) > len(told) else []
        head = [f"{place}: {len(errors)} labels cannot be used"] if len(errors) > 1 else []
        raise ManifestError("\n  ".join([*head, *told, *more]))
    counted = Counter((finding.problem, finding.remedy) for finding in findings if finding.severity == "warning")
    if needed and counted:
        said = "; ".join(f"{n} with {problem}: {remedy}" for (problem, remedy), n in counted.items())
        warnings.warn(f"{place}: of {len(utterances)} labels, {said}", LabelWarning, stacklevel=2)
    return plain


def lines_of(source: str | Path) -> Mapping[str, int]:
    """Line numbers of a manifest's utterances by id; none of a data set's."""
    if is_dataset(source):
        return {}
    path, lines = Path(located(source)), {}
    for number, raw in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if raw.strip():
            lines[json.loads(raw).get("id") or f"{path.stem}-{number:06d}"] = number
    return lines


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _found(utterance: Utterance, label: Label, name: str) -> list[Finding]:
    found = []
    if label.control:
        problem = f"holds {', '.join(map(repr, label.control))}, which transcripts of {name!r} do not"
        remedy = "remove it from the text, or leave the utterance out"
        found.append(Finding("error", utterance.id, "text", problem, remedy))
    if label.language and utterance.language and not same_language(label.language, utterance.language):
        problem = f"names the language {label.language!r} and the line {utterance.language!r}"
        found.append(Finding("error", utterance.id, "text", problem, "correct the one that is wrong"))
    if "timestamps" in label.removed:
        problem, remedy = "timestamps", "they are left out; the text between them is learned and scored"
        found.append(Finding("warning", utterance.id, "text", problem, remedy))
    if label.barred:
        problem = f"tokens that {name!r} never writes (suppress_tokens of its generation settings)"
        remedy = "it learns them and its rollouts cannot hold them; remove them from the text or from the settings"
        found.append(Finding("warning", utterance.id, "text", problem, remedy))
    for form in label.removed:
        if form != "timestamps":
            found.append(Finding("note", utterance.id, "text", form, "taken off; nothing need be done"))
    return found


def _told(finding: Finding, source: str | Path | None, lines: Mapping[str, int]) -> str:
    place = "" if source is None else f"{source}:{lines[finding.id]}: " if finding.id in lines else f"{source}: "
    return f'{place}utterance {finding.id!r}: field "{finding.field}" {finding.problem}; {finding.remedy}'
