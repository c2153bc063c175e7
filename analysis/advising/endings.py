"""Rules on the end of transcripts: whether they end, loop or are empty, and whether the end is still likely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from overlap import Estimate, Threshold
from overlap.gates import Question
from overlap.gates.opening import fewest_utterances

from ..formatting import count, number
from ..run.load import Run
from .advisory import Advisory, Rule, Severity
from .readings import Reading, Standing, at, level_for, n_of, newest_probe, shown, standing

GO_BACK = (
    "Go back to the last checkpoint whose transcripts end, warm up longer, lower the learning rate; do not raise the "
    "limit on length first."
)
IF_SO = f"{GO_BACK[0].lower()}{GO_BACK[1:]}"
Found = Sequence[Advisory] | None


def _read(run: Run, statistic: str, states: str = "student") -> tuple[Reading, Estimate] | None:
    """Return the newest probe that measured a statistic, with it."""
    reading = newest_probe(run, states)
    found = None if reading is None else reading.estimates.get(statistic)
    return None if reading is None or found is None else (reading, found)


def _ends(run: Run) -> Found:
    if (read := _read(run, "end_of_text")) is None:
        return None
    reading, found = read
    row = level_for(run, "end_of_text", Question.collapse)
    counted = n_of(found, "transcript")
    said = f"{shown(found)} of the student's transcripts ended by themselves, {counted}; level {row.bound}"
    match standing(found, row):
        case Standing.MET:
            return []
        case Standing.MISSED:
            severity, title = Severity.CRITICAL, "Transcripts do not end"
            advice = f"{GO_BACK} Agreement and mass mean nothing until transcripts end."
        case Standing.DOUBTFUL:
            severity, title = Severity.WARNING, "Too few transcripts end, though not certainly"
            advice = f"Probe more utterances before the next stage. If it is confirmed: {IF_SO}"
        case _:
            fewest = fewest_utterances(Threshold("end_of_text", at_least=row.level))
            severity, title = Severity.NOTE, "It is not certain that enough transcripts end"
            advice = "Probe more utterances."
            if found.n_groups < fewest:
                advice = (
                    f"Probe more utterances: even if all end, the interval lies above {row.level:g} from "
                    f"{count(fewest)} utterances on."
                )
    return [Advisory("end_of_text", severity, title, reading.where, said, advice, found)]


def _repeats(run: Run) -> Found:
    if (read := _read(run, "repetition")) is None:
        return None
    reading, found = read
    row = level_for(run, "repetition", Question.collapse)
    how = standing(found, row)
    if how not in (Standing.MISSED, Standing.DOUBTFUL):
        return []
    certain = how is Standing.MISSED
    said = f"Mean compression ratio {shown(found, 1)}, {n_of(found, 'transcript')}; level {row.bound}"
    title = "Transcripts repeat themselves" if certain else "Some transcripts repeat themselves"
    advice = f"Read the longest transcripts; if they loop, {IF_SO}"
    severity = Severity.CRITICAL if certain else Severity.WARNING
    return [Advisory("repetition", severity, title, reading.where, said, advice, found)]


def _empty(run: Run) -> Found:
    if (read := _read(run, "empty")) is None:
        return None
    reading, found = read
    row = level_for(run, "empty")
    how = standing(found, row)
    if how not in (Standing.MISSED, Standing.DOUBTFUL):
        return []
    said = f"{shown(found)} of the student's transcripts have no text, {n_of(found, 'transcript')}; level {row.bound}"
    advice = (
        "Listen to the audio of empty transcripts. Where something is said, the student stops too early: read the "
        "labels for empty texts, and go back to the last checkpoint that wrote."
    )
    severity = Severity.CRITICAL if how is Standing.MISSED else Severity.WARNING
    return [Advisory("empty", severity, "Transcripts are empty", reading.where, said, advice, found)]


def _end_is_likely(run: Run) -> Found:
    if (read := _read(run, "student_end_likely.at_end", "teacher")) is None:
        return None
    reading, found = read
    row = level_for(run, "student_end_likely.at_end")
    how = standing(found, row)
    if how not in (Standing.MISSED, Standing.DOUBTFUL):
        return []
    said = (
        f"The student gives the end of text at least 0.5 at {shown(found)} of the teacher's ends, "
        f"{n_of(found, 'end')}; level {row.bound}"
    )
    severity = Severity.WARNING
    if reading.kind == "sft":  # the teacher's words are not learned yet, so its ends may well be unlikely
        severity = Severity.NOTE
        advice = (
            "This may be the form of the labels: teacher data should mend it. If it stays low there, check that labels "
            "end where the teacher's transcripts do."
        )
    elif reading.kind == "opd":
        advice = (
            "Watch the share of transcripts that end. If it falls too, go back to teacher data with transcripts that "
            "keep their end of text."
        )
    else:
        advice = (
            "Do not begin on-policy training yet. Check that the teacher's transcripts keep their end of text and that "
            "filters drop unfinished ones, then train longer on them."
        )
    title = "The student finds the teacher's ends unlikely"
    return [Advisory("end_at_teachers_ends", severity, title, reading.where, said, advice, found)]


def _stop_density(run: Run) -> Found:
    if (read := _read(run, "stop_density")) is None:
        return None
    reading, now = read
    rows = run.probes.loc[(run.probes["statistic"] == "stop_density") & (run.probes["states"] == "student")]
    best: dict[str, Any] = rows.loc[rows["value"].astype(float).idxmax()].to_dict()
    row = level_for(run, "stop_density.fold", Question.collapse)
    highest = Estimate.from_dict(best)
    if not row.level * now.value < highest.value:
        return []
    # Certain where even the ends of both intervals that are nearest to each other are so far apart.
    certain = row.level * now.high < highest.low
    fold = f"fell {number(highest.value / now.value, 0)}-fold" if now.value > 0 else "fell to none"
    said = (
        f"Ends in 1,000 tokens {fold}: {shown(highest, 1)} at {at(best['stage'], best['step'])}, now {shown(now, 1)}, "
        f"{n_of(now, 'token')}; level ≤ {row.level:g}-fold"
    )
    severity = Severity.CRITICAL if certain else Severity.WARNING
    return [
        Advisory(
            "stop_density",
            severity,
            "Stop density fell: transcripts grow without ending",
            reading.where,
            said,
            GO_BACK,
            now,
        )
    ]


RULES = (
    Rule("end_of_text", "end of text", _ends),
    Rule("repetition", "repetition", _repeats),
    Rule("empty", "empty transcripts", _empty),
    Rule("stop_density", "stop density", _stop_density),
    Rule("end_at_teachers_ends", "p(end) at the teacher's ends", _end_is_likely),
)
