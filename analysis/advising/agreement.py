"""Rules on numbers that look good for the wrong reason, and on positions that no number is about."""

from __future__ import annotations

from collections.abc import Sequence

from overlap import Estimate
from overlap.gates import Question

from ..formatting import count, number
from ..run.load import Run
from ..stages.probe_reading import funnel_of
from .advisory import Advisory, Rule, Severity
from .readings import Reading, Standing, level_for, n_of, newest_probe, shown, standing

Found = Sequence[Advisory] | None
ENDS, HONEST = "end_of_text", "top1_agreement.without_repeats"
"""What shows that agreement is that of loops."""
REASONS = {
    "misaligned": "tokenizers or prompts differ; `distill show` prints both models' view of one utterance",
    "blocked": "the transcripts hold tokens that one model may not write",
    "low_support": "the vocabulary map leaves fewer than two tokens; see the map's coverage",
    "truncated": "rollouts do not end",
    "refused": "the step refuses rollouts",
    "empty_rollout": "rollouts are empty",
}
"""Why positions are in a bin of the funnel, and where to look."""


def _positions(run: Run) -> Found:
    reading = newest_probe(run)
    funnel = None if reading is None else funnel_of(reading.rows)
    if reading is None or funnel is None or not funnel.total:
        return None
    share, row = funnel.share("used"), level_for(run, "used", Question.comparable)
    if share >= row.level:
        return []
    lost = {name: n for name, n in funnel.counts.items() if n and name != "used"}
    most = max(lost, key=lost.__getitem__)
    bins = ", ".join(
        f"{name.replace('_', ' ')} {count(n)}" for name, n in sorted(lost.items(), key=lambda one: -one[1])
    )
    said = (
        f"{number(100 * share, 1)} % of the positions are used, {count(funnel['used'])} of {count(funnel.total)} "
        f"(a count; lost: {bins}); level ≥ {100 * row.level:g} %"
    )
    severity = Severity.CRITICAL if share < 0.5 else Severity.WARNING  # most of what the student writes is not compared
    advice = f"Repair this before reading overlap. {most.replace('_', ' ').capitalize()}: {REASONS[most]}."
    return [Advisory("positions", severity, "Positions are lost", reading.where, said, advice)]


def _loops_agree(run: Run) -> Found:
    """Agreement that certainly meets its level, and a number that says that it does so along loops.

    That is, ends of transcripts certainly below their level, or agreement without repeats certainly below that of
    agreement. Without repeats there are fewer positions and the interval is wider, so that a number a little below the
    level says nothing: it counts if the two intervals do not overlap and ends or repetition are on the wrong side.
    """
    reading = newest_probe(run)
    plain = None if reading is None else reading.estimates.get("top1_agreement")
    if reading is None or plain is None or not {ENDS, HONEST} & reading.estimates.keys():
        return None
    row = level_for(run, "top1_agreement")
    if standing(plain, row) is not Standing.MET or (name := _against(run, reading, plain)) is None:
        return []
    found = reading.estimates[name]
    what, unit = ("transcripts that ended", "transcript") if name == ENDS else ("without repeats", "position")
    said = (
        f"Top-1 agreement {shown(plain, 3)}, {n_of(plain, 'position')}; level {row.bound}; but {what} "
        f"{shown(found, 3)}, {n_of(found, unit)}"
    )
    severity = Severity.CRITICAL if name == ENDS else Severity.WARNING
    advice = (
        "Do not trust plain agreement: two models agree along a loop. Let gates read `top1_agreement.without_repeats`"
    )
    advice += ", behind a precondition on `end_of_text`." if name == ENDS else "."
    return [Advisory("loops_agree", severity, "Loops agree", reading.where, said, advice, plain)]


def _against(run: Run, reading: Reading, plain: Estimate) -> str | None:
    """Return the name of what contradicts high agreement; None without one."""
    signs = {name: level_for(run, name, Question.collapse) for name in (ENDS, "repetition")}
    signs = {name: standing(reading.estimates[name], row) for name, row in signs.items() if name in reading.estimates}
    if signs.get(ENDS) is Standing.MISSED:
        return ENDS
    if (honest := reading.estimates.get(HONEST)) is None:
        return None
    how = standing(honest, level_for(run, "top1_agreement"))
    apart = how is Standing.DOUBTFUL and honest.high < plain.low
    loops = any(sign in (Standing.MISSED, Standing.DOUBTFUL) for sign in signs.values())
    return HONEST if how is Standing.MISSED or (apart and loops) else None


def _mass_on_collapse(run: Run) -> Found:
    reading = newest_probe(run)
    mass = None if reading is None else reading.estimates.get("student_mass")
    if reading is None or mass is None:
        return None
    signs = {"end_of_text": ("transcripts that ended", 2), "repetition": ("compression ratio", 1)}
    measured = {name: reading.estimates[name] for name in signs if name in reading.estimates}
    if not measured:
        return None
    if standing(mass, row := level_for(run, "student_mass")) is not Standing.MET:
        return []
    for name, found in measured.items():
        sign = level_for(run, name, Question.collapse)
        if standing(found, sign) is Standing.MISSED:
            what, digits = signs[name]
            said = (
                f"Student's mass on the teacher's set {shown(mass, 3)}, {n_of(mass, 'position')}; level {row.bound}; "
                f"but {what} {shown(found, digits)}, {n_of(found, 'transcript')}; level {sign.bound}"
            )
            advice = (
                "Ignore the mass: collapsed runs elsewhere had the highest (0.991 to 0.9997). Judge the run by its end "
                "of text and its error rate."
            )
            title = "High mass on a collapse"
            return [Advisory("mass_on_collapse", Severity.CRITICAL, title, reading.where, said, advice, mass)]
    return []


RULES = (
    Rule("loops_agree", "agreement of loops", _loops_agree),
    Rule("mass_on_collapse", "mass on a collapse", _mass_on_collapse),
    Rule("positions", "positions lost", _positions),
)
