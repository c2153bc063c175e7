"""Checks the labels of a manifest, and converts them to plain text."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from overlap.arguments import callers_level

from ..models import Transcriber
from ..models.labels import Label, read_labels
from ..models.languages import same_language, spoken
from ..models.whisper import TIMESTAMP
from .line_findings import Finding, refuse
from .manifest import Utterance


class LabelWarning(UserWarning):
    """Usable labels that may be mistakes."""


def plain_labels(
    utterances: Sequence[Utterance], recognizer: Transcriber, *, learned: bool = False
) -> tuple[list[Utterance], list[Finding]]:
    """Return utterances with plain labels for training or scoring, and findings about the labels.

    A label in a form that models write (`distill.models.labels`) becomes plain text; the language that it names is used
    if the line has none.

    Args:
        utterances: Of a manifest; those without text are unchanged.
        recognizer: Who learns or is scored.
        learned: Whether it learns them: a model with timestamps learns timestamps too, but is scored without them.

    Returns:
        The utterances in their order, and the findings in the order of the utterances.
    """
    findings: list[Finding] = []
    whole = [i for i, u in enumerate(utterances) if u.text is not None and _is_unicode(u.text)]
    read = read_labels([utterances[i].text or "" for i in whole], recognizer, timestamps=learned)
    labels = dict(zip(whole, read, strict=True))
    timed = learned and bool(recognizer.tokens.times)
    plain: list[Utterance] = []
    for i, utterance in enumerate(utterances):
        if label := labels.get(i):
            findings += _found(utterance, label, recognizer.name)
            if timed and label.text.strip() and not TIMESTAMP.search(label.text):
                problem = f"has no timestamps, which {recognizer.name!r} would learn (timestamps = true)"
                remedy = "write them as in <|0.00|> call four<|2.00|>, or remove timestamps from the recipe"
                findings.append(Finding.about(utterance, "text", problem, remedy))
            language = utterance.language if spoken(utterance.language) else label.language
            plain.append(replace(utterance, text=label.text, language=language) if label.removed else utterance)
            continue
        if utterance.text is not None:
            problem = "holds half of a character (a lone surrogate)"
            findings.append(Finding.about(utterance, "text", problem, "write the text again, in UTF-8"))
        plain.append(utterance)
    return plain, findings


def checked_labels(
    utterances: Sequence[Utterance], recognizer: Transcriber, *, needed: bool = True, learned: bool = False
) -> list[Utterance]:
    """Return the same, but raises errors and warns of the rest once, with counts.

    Args:
        utterances: Of one manifest.
        recognizer: Who learns or is scored.
        needed: Whether the labels are used; otherwise they raise no error.
        learned: Whether the recognizer learns them.

    Raises:
        ManifestError: Labels that cannot be used; names file, line, field and remedy.
    """
    plain, findings = plain_labels(utterances, recognizer, learned=learned)
    if not needed:
        return plain
    refuse(findings)
    warn_of_labels(utterances, findings)
    return plain


def warn_of_labels(utterances: Sequence[Utterance], findings: Iterable[Finding]) -> None:
    """Warn once, with counts, of findings in the usable labels of a manifest.

    Args:
        utterances: Of the manifest.
        findings: About its texts.
    """
    findings = list(findings)
    counted = Counter((finding.message, finding.remedy) for finding in findings)
    if counted:
        said = "; ".join(f"{n} with {problem}: {remedy}" for (problem, remedy), n in counted.items())
        place = next((finding.file for finding in findings if finding.file), "the labels")
        warnings.warn(f"{place}: of {len(utterances)} labels, {said}", LabelWarning, stacklevel=callers_level())


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _found(utterance: Utterance, label: Label, name: str) -> list[Finding]:
    found = []
    if label.control:
        problem = f"holds {', '.join(map(repr, label.control))}, which transcripts of {name!r} do not"
        remedy = "remove it from the text, or leave the utterance out"
        found.append(Finding.about(utterance, "text", problem, remedy))
    named, line = spoken(label.language), spoken(utterance.language)
    if named and line and not same_language(label.language or "", utterance.language or ""):
        problem = f"names the language {label.language!r} and the line {utterance.language!r}"
        found.append(Finding.about(utterance, "text", problem, "correct the one that is wrong"))
    if "timestamps" in label.removed:
        problem, remedy = "timestamps", "they are left out; the text between them is learned and scored"
        found.append(Finding.about(utterance, "text", problem, remedy, warn=True))
    if label.barred:
        problem = f"tokens that {name!r} never writes (suppress_tokens of its generation settings)"
        remedy = "it learns them and its rollouts cannot hold them; remove them from the text or from the settings"
        found.append(Finding.about(utterance, "text", problem, remedy, warn=True))
    return found
