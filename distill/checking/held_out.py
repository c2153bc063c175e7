"""Whether probe and evaluation sets are new to the student: audio or prompts, and texts, that occur in training too.

Shared audio is an error. Gates and error rates read these sets as new to the student, so every number of the run would
be too good without a sign of it, and leaving out the lines costs nothing. The same words said by someone else are
common in tasks with few sentences, and only a note.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from overlap.estimates.number_formatting import count

from ..data.manifest import Utterance
from ..run.training_data import AudioIdentities, TrainingData
from .finding import CheckFinding, Severity
from .sets import NamedSet

SHARED_INPUT = "audio shared between sets"
SHARED_TEXT = "texts shared between sets"


def check_shared_inputs(sets: Sequence[NamedSet]) -> list[CheckFinding]:
    """Return how much of the audio (for text models: how many prompts) of probe and evaluation sets occurs in training.

    Audio is compared by the contents of its files and by time, so copies under other names and overlapping segments
    are found.

    Args:
        sets: All sets of the recipe.

    Raises:
        AudioError: A file cannot be read.
    """
    identities = AudioIdentities()
    training = _by_manifest([one for one in sets if one.use == "training"])
    held_out = [one for one in sets if one.use != "training"]
    rows = [
        _shared(one, other, n, "error")
        for one in held_out
        for other in training
        if (n := _count_shared(one, other, identities))
    ]
    probes = [one for one in held_out if one.use == "probe"]
    rows += [
        _shared(one, other, n, "note")
        for one in held_out
        for other in probes
        if one is not other and (n := _count_shared(one, other, identities))
    ]
    if training and held_out and not any(row.severity == "error" for row in rows):
        names = " and ".join(f"{one.name} (n = {count(len(one.utterances))})" for one in held_out)
        n = sum(len(one.utterances) for one in training)
        rows.append(CheckFinding("ok", SHARED_INPUT, f"{names}: none of it is among {count(n)} training utterances"))
    return rows


def check_shared_texts(sets: Sequence[NamedSet]) -> list[CheckFinding]:
    """Return how many texts of probe and evaluation sets are also labels of training, without case and extra spaces.

    Args:
        sets: All sets of the recipe.
    """
    learned = [u for one in sets if one.learned for u in one.utterances]
    speakers: dict[str, set[str]] = {}
    for utterance in learned:
        if key := _words(utterance.text):
            speakers.setdefault(key, set()).update(_speaker(utterance))
    rows = []
    for one in (one for one in sets if one.use != "training" and one.texts and speakers):
        spoken = [u for u in one.utterances if _words(u.text)]
        shared = [u for u in spoken if _words(u.text) in speakers]
        same = sum(not speakers[_words(u.text)].isdisjoint(_speaker(u)) for u in shared)
        said = f"{_share(len(shared), len(spoken))} texts of {one.name} are also labels of training"
        by_whom = f", {count(same)} of them by the same speaker" if same else ""
        if shared:
            remedy = "fine for commands and digits; for free speech, error rates are better than on new sentences"
            rows.append(CheckFinding("note", SHARED_TEXT, f"{said}{by_whom}", remedy))
        else:
            rows.append(CheckFinding("ok", SHARED_TEXT, said))
    return rows


def _count_shared(one: NamedSet, other: NamedSet, identities: AudioIdentities) -> int:
    """Return the number of utterances of a set of which at least a part, or whose prompt, is in another."""
    known = TrainingData().plus(other.utterances, identities, {})
    prompts = {_prompt(u) for u in other.utterances if u.audio is None}
    return known.count_seen(one.utterances, identities) + sum(
        u.audio is None and _prompt(u) in prompts for u in one.utterances
    )


def _shared(one: NamedSet, other: NamedSet, n: int, severity: Severity) -> CheckFinding:
    what = "share audio with" if any(u.audio for u in one.utterances) else "have the prompt of one of"
    found = f"{_share(n, len(one.utterances))} utterances of {one.name} {what} {other.name} ({other.manifest})"
    remedy = (
        "remove them from either set: gates and error rates would read what the student was trained on"
        if severity == "error"
        else "gates then choose by what is reported; a set of its own for the probe is better"
    )
    return CheckFinding(severity, SHARED_INPUT, found, remedy)


def _by_manifest(sets: Sequence[NamedSet]) -> list[NamedSet]:
    """Return one set for each manifest, with the names of all that are read from it."""
    names: dict[str, list[str]] = {}
    for one in sets:
        names.setdefault(one.manifest, []).append(one.name)
    first = {one.manifest: one for one in reversed(sets)}
    return [replace(first[manifest], name=" and ".join(said)) for manifest, said in names.items()]


def _share(n: int, of: int) -> str:
    return f"{count(n)} of {count(of)} ({100 * n / of:.1f} %)" if of else "0 of 0"


def _prompt(utterance: Utterance) -> str:
    return repr(utterance.prompt)


def _words(text: str | None) -> str:
    return " ".join((text or "").casefold().split())


def _speaker(utterance: Utterance) -> set[str]:
    speaker = utterance.extra.get("speaker")
    return set() if speaker is None else {str(speaker)}
