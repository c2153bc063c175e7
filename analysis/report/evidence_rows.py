"""Numbers compared with their thresholds: the rows of evidence behind a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping

from overlap import Estimate
from overlap.estimates.first_reading import ENOUGH_ENDS

from ..formatting import count, number
from .thresholds import NAMES, SOURCES, Thresholds, form_read
from .verdict_types import Evidence, StageFacts, Standing, groups_of, in_words, positions_of

_LIKELY = "teacher's ends that the student finds likely"


def collapse_rows(facts: StageFacts, thresholds: Thresholds) -> list[Evidence]:
    """Return the evidence of collapse: whether transcripts loop or do not end."""
    return [
        compare_with_threshold(facts.after, "repetition", at_most=thresholds.repetition),
        compare_with_threshold(facts.after, "end_of_text", at_least=thresholds.end_of_text),
    ]


def likely_rows(facts: StageFacts) -> list[Evidence]:
    """Return at which share of the teacher's ends the student finds the end likely; nothing where it was not probed.

    As in the gates of shipped recipes, the value decides where it is of at least 50 transcripts.
    """
    found = facts.likely
    if found is None or math.isnan(found.value):
        return []
    met = found.value >= facts.likely_level and found.n_groups >= ENOUGH_ENDS
    standing = _standing_of(met, found.high < facts.likely_level)
    counted = groups_of(found.n_groups, "transcript")
    threshold, source = f"≥ {facts.likely_level:.2f}", SOURCES["student_end_likely.at_end"]
    return [Evidence(_LIKELY, "teacher's transcripts", in_words(found), counted, threshold, standing, source)]


def mass_rows(facts: StageFacts, thresholds: Thresholds) -> list[Evidence]:
    """Return the student's mass on the teacher's set, compared with the start of the stage."""
    before, after = facts.before.get("student_mass"), facts.after.get("student_mass")
    loss = thresholds.mass_loss
    if before is None or after is None or math.isnan(before.value) or math.isnan(after.value):
        shown, counted, standing = "not measured at both ends", "", Standing.UNMEASURED
        least = f"≥ its start − {loss:g}"
    else:
        shown, counted = in_words(after), positions_of("student_mass", after)
        # Both ends are estimates: a result is certain only if it holds for every start within its interval.
        standing = _standing_of(after.low >= before.high - loss, after.high < before.low - loss)
        least = f"≥ {before.value - loss:.2f} ({number(before.value, 3)} at the start − {loss:g})"
    name = "mass on the teacher's set kept"
    return [Evidence(name, "student's rollouts", shown, counted, least, standing, SOURCES["mass_loss"])]


def compare_with_threshold(
    numbers: Mapping[str, Estimate], name: str, *, at_least: float | None = None, at_most: float | None = None
) -> Evidence:
    """Compare a number with a threshold by the conservative bound of its interval; without one, the result is open."""
    found = numbers.get(name)
    threshold = f"≥ {at_least:.2f}" if at_least is not None else f"≤ {at_most:.2f}" if at_most is not None else ""
    if found is None or math.isnan(found.value):
        shown, counted = ("not measured", "") if found is None else ("undefined", positions_of(name, found))
        standing = Standing.UNMEASURED if threshold else Standing.SHOWN
    else:
        shown, counted = in_words(found), positions_of(name, found)
        if at_least is not None:
            standing = _standing_of(found.low >= at_least, found.high < at_least)
        elif at_most is not None:
            standing = _standing_of(found.high <= at_most, found.low > at_most)
        else:
            standing = Standing.SHOWN
    source = SOURCES.get(name, SOURCES["mapped_mass"] if name.endswith("mapped_mass") else "")
    bounded = found is not None and not math.isnan(found.low) and not math.isnan(found.high)
    return Evidence(NAMES[name], "student's rollouts", shown, counted, threshold, standing, source, bounded)


def _standing_of(met: bool, missed: bool) -> Standing:
    return Standing.MET if met else Standing.MISSED if missed else Standing.UNDECIDED


def context_rows(facts: StageFacts) -> list[Evidence]:
    """Return numbers shown beside the judged ones: before the stage, and on recorded rollouts."""
    rows = [compare_with_threshold(facts.after, "overlap_ratio")] if "overlap_ratio" in facts.after else []
    if form_read("top1_agreement", facts.after) != "top1_agreement" and "top1_agreement" in facts.after:
        rows.append(compare_with_threshold(facts.after, "top1_agreement"))  # beside the form that is judged
    ends = (("student's rollouts, at the start", facts.before), ("fixed, at the start", facts.fixed_before))
    for states, numbers in (*ends, ("fixed, at the end", facts.fixed_after)):
        for name in ("top1_agreement", "student_mass"):
            if (found := numbers.get(name)) is not None:
                rows.append(
                    Evidence(NAMES[name], states, in_words(found), positions_of(name, found), "", Standing.SHOWN)
                )
    return rows


def error_rows(facts: StageFacts) -> list[Evidence]:
    """Return the change of the error rate; judged only for an on-policy stage."""
    rows = []
    judged = facts.kind == "opd"
    for change in (facts.errors, facts.baseline):
        if change is None:
            continue
        name = f"change in {change.rate} since {change.since}, points"
        standing = Standing.SHOWN
        if judged:
            standing = _standing_of(change.change.high < 0, change.change.low > 0)
        states = "paired by utterance" if change.paired else "not paired"
        counted = f"{change.counted}, {count(change.total)} {'words' if change.rate == 'WER' else 'tokens'}"
        rows.append(Evidence(name, states, change.points, counted, "< 0" if judged else "", standing))
    return rows


def sentence_of(row: Evidence) -> str:
    """Return a row as a sentence."""
    if row.standing is Standing.UNMEASURED:
        return f"{row.name[0].upper()}{row.name[1:]}: {row.shown}, needed {row.threshold}."
    words = {
        Standing.MET: "satisfies",
        Standing.MISSED: "does not satisfy",
        Standing.UNDECIDED: "does not certainly satisfy" if row.bounded else "cannot be compared with",
    }
    return f"{row.name[0].upper()}{row.name[1:]} {row.shown} {words[row.standing]} {row.threshold} ({row.counted})."
