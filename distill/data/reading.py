"""A manifest read and checked for a purpose: its lines before any model is loaded, then against the models.

The one way for every verb and for runs; what is wrong with single lines is said of all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..models import Transcriber
from .batch import check_inputs
from .checks import Use, check_audio, check_models
from .findings import Finding, errors, refuse
from .labels import plain_labels, warn_of_labels
from .manifest import ManifestError, Utterance, require_text
from .sources import read_utterances

Manifest = str | Path | Sequence[Utterance]
"""A path, `demo:corpus/…`, `hf:NAME:CONFIG:SPLIT`, or utterances that were read or made elsewhere."""


@dataclass(frozen=True)
class Purpose:
    """What the utterances of a manifest are for, and so what their lines must hold.

    Attributes:
        needs_text: What needs a text on every line, to begin messages with, as in "evaluation"; empty where nothing
            does. What is found in texts that nothing needs is not said.
        first: Use the first so many lines; None uses all.
        is_scored: Whether models score the text, which must then fit into the student.
        is_learned: Whether it is a transcript as the student should write it, points in time included.
        is_supervised: Whether the student alone is trained on it, without the teacher.
    """

    needs_text: str = ""
    first: int | None = None
    is_scored: bool = False
    is_learned: bool = False
    is_supervised: bool = False


@dataclass(frozen=True)
class DataSets:
    """Utterances for their purposes, as far as they are checked.

    Attributes:
        purposes: One a set.
        sets: The utterances.
        findings: What was found in them so far. The lines with errors are left out.
        drop: Whether lines that cannot be used are left out, instead of refused.
    """

    purposes: tuple[Purpose, ...]
    sets: tuple[tuple[Utterance, ...], ...]
    findings: tuple[Finding, ...] = ()
    drop: bool = False

    def checked(self, student: Transcriber, teacher: Transcriber | None = None, *, remedy: str = "") -> DataSets:
        """Check the sets against the models that read them, and make their texts plain (`distill.data.labels`).

        Args:
            student: Whose transcripts the texts are.
            teacher: Reads every set that is not for supervised training.
            remedy: What else can be done with lines that cannot be used.

        Raises:
            ManifestError: Lines that cannot be used.
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
        labeled = replace(self, sets=tuple(plain))._less(found, remedy)
        uses = [
            Use(utterances, models, student if purpose.is_scored else None, taught=purpose.is_supervised)
            for utterances, models, purpose in zip(labeled.sets, readers, self.purposes, strict=True)
        ]
        return labeled._less([finding for use in uses for finding in check_models(use)], remedy)

    def checked_one(self, student: Transcriber, teacher: Transcriber | None = None) -> list[Utterance]:
        """The utterances of the only set, checked against the models; warns once of labels that may not be meant so.

        Raises:
            ManifestError: Lines that cannot be used.
        """
        found = self.checked(student, teacher)
        warn_of_labels(self.sets[0], found.findings)
        return list(found.sets[0])

    def _less(self, found: Iterable[Finding], remedy: str) -> DataSets:
        """The same without the lines that cannot be used, which are refused unless they are dropped."""
        found = tuple(found)
        if not self.drop:
            refuse(found, remedy)
        findings = (*self.findings, *found)
        return replace(self, sets=tuple(_usable(used, findings) for used in self.sets), findings=findings)


def read_for(
    purpose: Purpose, manifest: Manifest, *, max_seconds: float, with_audio: bool = True, remedy: str = ""
) -> DataSets:
    """Read one manifest and check its lines, as `read_sets` does.

    Args:
        purpose: What the utterances are for.
        manifest: Where they are, or they themselves.
        max_seconds: The longest utterance allowed.
        with_audio: Whether audio is checked.
        remedy: What else can be done with lines that cannot be used.

    Raises:
        FileNotFoundError, ManifestError, MissingExtraError: As `read_sets`.
    """
    return read_sets([(purpose, manifest)], max_seconds=max_seconds, with_audio=with_audio, remedy=remedy)


def read_sets(
    wanted: Sequence[tuple[Purpose, Manifest]],
    *,
    max_seconds: float,
    with_audio: bool = True,
    drop: bool = False,
    remedy: str = "",
) -> DataSets:
    """Read manifests and check their lines as far as no model is needed: fields, texts, and audio without decoding it.

    Args:
        wanted: What for, and where.
        max_seconds: The longest utterance allowed.
        with_audio: Whether audio is checked.
        drop: Leave lines out that cannot be used, instead of refusing them.
        remedy: What else can be done with lines that are refused.

    Raises:
        FileNotFoundError: A manifest does not exist.
        ManifestError: Anything else wrong with one, or lines that cannot be used; with place and remedy.
        MissingExtraError: A data set, and `datasets` is not installed.
    """
    sets = tuple(tuple(_read(manifest)[: purpose.first]) for purpose, manifest in wanted)
    purposes = tuple(purpose for purpose, _ in wanted)
    for purpose, utterances in zip(purposes, sets, strict=True):
        if purpose.needs_text:
            require_text(utterances, purpose.needs_text)
    found = [one for used in sets for one in check_audio(used, max_seconds)] if with_audio else []
    return DataSets(purposes, sets, drop=drop)._less(found, remedy)


def _read(manifest: Manifest) -> Sequence[Utterance]:
    if isinstance(manifest, str | Path):
        return read_utterances(manifest, check_audio=False)  # which is among the checks
    if not manifest:
        raise ManifestError("there are no utterances; give at least one")
    seen: set[str] = set()
    for utterance in manifest:
        if utterance.id in seen:
            raise ManifestError(f"utterance id {utterance.id!r} occurs twice; give each utterance its own id")
        seen.add(utterance.id)
    return manifest


def _usable(utterances: tuple[Utterance, ...], findings: Sequence[Finding]) -> tuple[Utterance, ...]:
    wrong = {((finding.file, finding.line), finding.id) for finding in errors(findings)}
    kept = tuple(utterance for utterance in utterances if (utterance.place, utterance.id) not in wrong)
    if utterances and not kept:
        refuse(findings, "and nothing is left without them")
    return kept
