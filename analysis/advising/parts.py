"""Rules on parts of what a probe hears: clips without speech, and groups of utterances."""

from __future__ import annotations

from collections.abc import Sequence

from overlap import Estimate
from overlap.definitions.group_names import LEAST
from overlap.gates import Question

from ..formatting import count
from ..run.load import Run
from .advisory import Advisory, Rule, Severity
from .readings import Standing, level_for, n_of, newest_probe, newest_rows, shown, standing

Found = Sequence[Advisory] | None
MOST_CLIPS = 0.1
"""Share of clips without speech that may never end, or may have words; a convention of ours: what is left of the 0.9 of
transcripts that must end."""
CLIPS = {"unfinished_clips": "never end", "clips_with_words": "have invented words"}
"""Statistics, the worse one first."""


def _no_speech(run: Run) -> Found:
    """The student certainly writes on and on, or invents words, on too many clips of a kind without speech."""
    if (newest := newest_rows(run, run.no_speech, model="student")) is None:
        return None
    rows, where = newest
    for statistic, what in CLIPS.items():
        of_kinds = {
            row["kind"]: Estimate.from_dict(row) for row in rows.to_dict("records") if row["statistic"] == statistic
        }
        over = {kind: one for kind, one in of_kinds.items() if one.low > MOST_CLIPS}
        if not over:
            continue
        kind, worst = max(over.items(), key=lambda one: one[1].low)
        said = f"{shown(worst)} of the student's transcripts of {kind} {what}, n = {count(worst.n_groups)} clips"
        said += f"{_teachers(run, statistic, kind)}; level ≤ {MOST_CLIPS:g}"
        advice = (
            "Read them in `Run.no_speech_clips`. If the teacher writes nothing there, add clips without speech, with "
            "empty text, to the stage's data; until then cut silence off before the student hears it."
        )
        title = f"Transcripts of clips without speech {what}"
        severity = Severity.CRITICAL if statistic == "unfinished_clips" else Severity.WARNING
        return [Advisory("no_speech", severity, title, where, said, advice, worst)]
    return []


def _teachers(run: Run, statistic: str, kind: str) -> str:
    """Return the teacher's number on the same clips, in words."""
    clips = run.no_speech
    rows = clips.loc[(clips["model"] == "teacher") & (clips["statistic"] == statistic) & (clips["kind"] == kind)]
    return "" if rows.empty else f", the teacher's {shown(Estimate.from_dict(rows.iloc[-1].to_dict()))}"


def _groups_end(run: Run) -> Found:
    """Groups whose transcripts certainly do not end, while those of the whole set may.

    Each group is judged at its own interval, not corrected for their number: this says where to look.
    """
    newest = newest_rows(run, run.probe_groups, states="student")
    reading = newest_probe(run)
    whole = None if reading is None else reading.estimates.get("end_of_text")
    if newest is None or whole is None:
        return None
    rows, where = newest
    row = level_for(run, "end_of_text", Question.collapse)
    if standing(whole, row) is Standing.MISSED:  # a finding of its own
        return []
    named = {
        f"{one['field']}={one['group']}": Estimate.from_dict(one)
        for one in rows.loc[rows["statistic"] == "end_of_text"].to_dict("records")
        if one["n_groups"] >= LEAST
    }
    missed = {name: one for name, one in named.items() if standing(one, row) is Standing.MISSED}
    if not missed:
        return []
    worst = sorted(missed.items(), key=lambda one: one[1].value)
    listed = "; ".join(f"{name} {shown(one)}, {n_of(one, 'transcript')}" for name, one in worst)
    said = f"Transcripts that ended by themselves: {listed}; of all {shown(whole)}; level {row.bound}"
    advice = (
        "The mean of the set hides it. Read the longest transcripts of the group, look at its teacher transcripts, and "
        "let the gate read every group (`every_group`) before the next stage."
    )
    title = "Transcripts of a group do not end" if len(missed) == 1 else "Transcripts of some groups do not end"
    return [Advisory("group_ends", Severity.WARNING, title, where, said, advice, worst[0][1])]


RULES = (
    Rule("group_ends", "end of text of groups", _groups_end),
    Rule("no_speech", "clips without speech", _no_speech),
)
