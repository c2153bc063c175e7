"""Reads and checks manifests for a purpose: lines before any model is loaded, then against the models.

Verbs use `read_for`, which refuses unusable lines immediately; runs use `read_sets`, which collects them over all
manifests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..models import Transcriber
from .batch import check_inputs
from .checks import Use, check_audio, check_models, check_source, check_text
from .labels import plain_labels, warn_of_labels
from .line_findings import Finding, errors, refuse
from .manifest import ManifestError, Utterance, require_text
from .sources import read_utterances

NOTHING_LEFT = "and nothing is left without them"

Manifest = str | Path | Sequence[Utterance]
"""A path, `demo:corpus/…`, `hf:NAME:CONFIG:SPLIT`, or utterances from elsewhere."""


@dataclass(frozen=True)
class Purpose:
    """The use of a manifest's utterances, which determines required fields.

    Attributes:
        needs_text: What needs a text on every line, the first words of messages, as in "evaluation"; empty if nothing
            does. Findings in unneeded texts are not reported.
        first: Use only so many first lines; None uses all.
        is_scored: Whether models score the text, which must then fit into the student's context.
        is_learned: Whether the text is a transcript as the student should write it, including timestamps.
        is_supervised: Whether only the student reads it, without the teacher.
    """

    needs_text: str = ""
    first: int | None = None
    is_scored: bool = False
    is_learned: bool = False
    is_supervised: bool = False


@dataclass(frozen=True)
class DataSets:
    """Utterances for several purposes, with the findings so far.

    Attributes:
        purposes: One for each set.
        sets: The utterances.
        findings: Findings so far.
        textless: Lines left out of a set because they lack a text; other sets may use them.
        is_strict: Whether a check refuses unusable lines immediately. Otherwise checks collect them, `usable` leaves
            them out, and `refuse` reports all.
    """

    purposes: tuple[Purpose, ...]
    sets: tuple[tuple[Utterance, ...], ...]
    findings: tuple[Finding, ...] = ()
    textless: tuple[Finding, ...] = ()
    is_strict: bool = False

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        """All findings, each once."""
        return tuple(dict.fromkeys((*self.findings, *self.textless)))

    def checked(self, student: Transcriber, teacher: Transcriber | None = None) -> DataSets:
        """Check the sets against the models that read them, and make their texts plain (`distill.data.labels`).

        Args:
            student: The model that learns the texts or is scored against them.
            teacher: Reads every set that is not for supervised training.

        Raises:
            ManifestError: Utterances without what a model reads; if strict, lines that cannot be used.
            ModelError: A model refuses every input.
        """
        readers = [
            (student,) if teacher is None or purpose.is_supervised else (student, teacher) for purpose in self.purposes
        ]
        for utterances, models in zip(self.sets, readers, strict=True):
            check_inputs(utterances, *models)
        plain, found = [], []
        for utterances, purpose in zip(self.sets, self.purposes, strict=True):
            made, about = plain_labels(utterances, student, learned=purpose.is_learned)
            plain.append(tuple(made))
            found += about if purpose.needs_text else []
        labeled = replace(self, sets=tuple(plain)).with_findings(found).usable()
        uses = [
            Use(utterances, models, student if purpose.is_scored else None, trained_on=purpose.is_supervised)
            for utterances, models, purpose in zip(labeled.sets, readers, self.purposes, strict=True)
        ]
        return labeled.with_findings([finding for use in uses for finding in check_models(use)])

    def checked_one(self, student: Transcriber, teacher: Transcriber | None = None) -> list[Utterance]:
        """Return the utterances of the only set, checked against the models; warns once of labels that may be mistakes.

        Raises:
            ManifestError, ModelError: As `checked`.
        """
        found = self.checked(student, teacher)
        warn_of_labels(self.sets[0], found.findings)
        return list(found.sets[0])

    def with_findings(self, found: Iterable[Finding], remedy: str = "") -> DataSets:
        """Return the same with additional findings; refuses unusable lines if strict.

        Args:
            found: The findings.
            remedy: A further remedy for unusable lines.

        Raises:
            ManifestError: Lines that cannot be used.
        """
        found = tuple(found)
        if self.is_strict:
            refuse(found, remedy)
        return replace(self, findings=(*self.findings, *found))

    def usable(self) -> DataSets:
        """Return the same without unusable lines.

        Raises:
            ManifestError: A set of which nothing is left.
        """
        return replace(self, sets=tuple(_usable(used, self.findings) for used in self.sets))

    def refuse(self, remedy: str) -> None:
        """Refuse all unusable lines in one error.

        Args:
            remedy: A further remedy for them.

        Raises:
            ManifestError: There are such lines.
        """
        refuse(self.all_findings, remedy)


def read_for(
    purpose: Purpose,
    manifest: Manifest,
    *,
    max_seconds: float,
    audio: Literal["decoded", "headers", "unread"] = "decoded",
    remedy: str = "",
) -> DataSets:
    """Read one manifest, and refuse problems that can be found without a model: fields, texts, audio.

    Args:
        purpose: The use of the utterances.
        manifest: Their source, or the utterances themselves.
        max_seconds: The longest utterance allowed.
        audio: How to check audio: completely, only headers, or not at all.
        remedy: A further remedy for lines with unusable audio.

    Raises:
        FileNotFoundError: The manifest does not exist.
        ManifestError: Anything else wrong with it, or lines that cannot be used; with place and remedy.
        MissingExtraError: A data set, and `datasets` is not installed.
    """
    read = read_utterances(manifest, check_audio=False) if isinstance(manifest, str | Path) else _listed(manifest)
    utterances = tuple(read[: purpose.first])
    if purpose.needs_text:
        require_text(utterances, purpose.needs_text)
    found = [] if audio == "unread" else check_audio(utterances, max_seconds, decode=audio == "decoded")
    return DataSets((purpose,), (utterances,), is_strict=True).with_findings(found, remedy)


def read_sets(wanted: Sequence[tuple[Purpose, str]], *, max_seconds: float, decode: bool) -> DataSets:
    """Read manifests, and collect problems that can be found without a model.

    A line without a text that its set needs is left out of that set; any other unusable line is kept until
    `DataSets.usable`.

    Args:
        wanted: Purpose and source of each set.
        max_seconds: The longest utterance allowed.
        decode: Whether audio is decoded to be checked, or only its headers are read.

    Raises:
        ManifestError: A set of which nothing is left.
        MissingExtraError: A data set, and `datasets` is not installed.
    """
    places = dict.fromkeys((source, purpose.first) for purpose, source in wanted)
    read = {place: check_source(place[0], max_seconds, first=place[1], decode=decode) for place in places}
    empty_first = sorted(read.values(), key=lambda one: bool(one[0]))
    if empty_first and not empty_first[0][0]:  # one message for all manifests
        refuse([finding for _, found in empty_first for finding in found], NOTHING_LEFT)
    sets, textless = [], []
    for purpose, source in wanted:
        utterances = tuple(read[source, purpose.first][0])
        missing = check_text(utterances, purpose.needs_text) if purpose.needs_text else []
        sets.append(tuple(u for u in utterances if u.text is not None) if missing else utterances)
        if not sets[-1]:
            refuse(missing, NOTHING_LEFT)
        textless += missing
    findings = dict.fromkeys(one for _, found in read.values() for one in found)
    return DataSets(
        tuple(purpose for purpose, _ in wanted), tuple(sets), tuple(findings), tuple(dict.fromkeys(textless))
    )


def _listed(utterances: Sequence[Utterance]) -> Sequence[Utterance]:
    if not utterances:
        raise ManifestError("there are no utterances; give at least one")
    seen: set[str] = set()
    for utterance in utterances:
        if utterance.id in seen:
            raise ManifestError(f"utterance id {utterance.id!r} occurs twice; give each utterance its own id")
        seen.add(utterance.id)
    return utterances


def _usable(utterances: tuple[Utterance, ...], findings: Sequence[Finding]) -> tuple[Utterance, ...]:
    wrong = {((finding.file, finding.line), finding.id) for finding in errors(findings)}
    kept = tuple(utterance for utterance in utterances if (utterance.place, utterance.id) not in wrong)
    if utterances and not kept:
        refuse(findings, NOTHING_LEFT)
    return kept
