"""Tables of what probes say against reference texts: signal and calibration at the start and end of every stage."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from overlap.definitions import canonical
from overlap.estimates.number_formatting import UNDEFINED
from overlap.signal import TEACHERS_WORD

from ..formatting import count, counts, number
from ..printed_table import PrintedTable
from ..run.against_references import calibration_readings, signal_readings
from ..run.checks import want_run
from ..run.load import Run
from ..stages.ends import stage_moments

SIGNAL_COLUMNS = ("moment", "step", "statistic", "verdict", "auroc", "informativeness", "spearman")
CALIBRATED = ("accuracy", "confidence", "ece", "brier", "nce", "overconfident_wrong")


def signal_table(run: Run, statistic: str | None = TEACHERS_WORD, states: str = "student") -> PrintedTable:
    """Return whether a statistic tells right transcripts from wrong ones, at the start and the end of every stage.

    Args:
        run: A run whose probe set has texts, finished or not, or the trace of a probe.
        statistic: Of `run.signal`; by default s(y), the mean of the teacher's log-probabilities of the transcript's
            tokens. None shows all statistics.
        states: On whose transcripts.

    Returns:
        Its frame has one row a moment and statistic: `verdict`, `auroc`, `informativeness` and `spearman` with `.low`
        and `.high`, `n_right`, `n_wrong`, `n_undefined` (transcripts left out), `needed` (where undecided, about how
        many transcripts would decide) and `reason` (why it is undefined). No rows where nothing was compared.

    Raises:
        UserError: No run, or a file is damaged.
    """
    want_run(run)
    wanted = None if statistic is None else canonical(statistic)
    rows, printed, over, groups, n_statistics = [], [], "utterances", [], 0
    normalizers: dict[str, None] = {}
    for label, step, _, found in stage_moments(run, run.signal, states):
        readings = signal_readings(found)
        normalizers[readings.normalizer], over, n_statistics = None, readings.over, max(n_statistics, len(readings))
        for name, signal in readings.items():
            if wanted not in (None, name):
                continue
            row: dict[str, Any] = {"moment": label, "step": step, "statistic": name, "verdict": str(signal.verdict)}
            for quantity in ("auroc", "informativeness", "spearman"):
                one = getattr(signal, quantity)
                row |= {quantity: one.value, f"{quantity}.low": one.low, f"{quantity}.high": one.high}
            row |= {"n_right": signal.n_right, "n_wrong": signal.n_wrong, "n_undefined": signal.auroc.n_undefined}
            row |= {"needed": signal.needed or math.nan, "reason": readings.reasons.get(name)}
            rows.append(row)
            groups.append(float(signal.auroc.n_groups or signal.spearman.n_groups or math.nan))
            shown = [signal.auroc.shown(2), signal.informativeness.shown(3), signal.spearman.shown(2)]
            n = [count(signal.n_right), count(signal.n_wrong), count(signal.auroc.n_undefined)]
            needed = UNDEFINED if signal.needed is None else count(signal.needed)
            printed.append([label, count(step), _named(name), signal.verdict_in_words, *shown, *n, needed])
    heading = ["", "step", "statistic", "verdict", "AUROC [95 %]", "informativeness [95 %]", "Spearman ρ [95 %]"]
    heading += ["n right", "n wrong", "left out", "would decide"]
    notes = [
        f"Do transcripts without error have better values than others? On the {states}'s rollouts of the probe set; "
        f"errors under {', '.join(normalizers)}; [ ]: 95 % intervals over {counts(groups)} {over}; verdicts "
        f"Holm-corrected over {n_statistics} statistics. Left out: transcripts without a reference, or without a value."
    ]
    return PrintedTable(pd.DataFrame(rows), heading, printed, notes if rows else [], left=4)


def calibration_table(run: Run, states: str = "student") -> PrintedTable:
    """Return the calibration of student and teacher at tokens and words, at the start and the end of every stage.

    Args:
        run: A run whose probe set has texts, finished or not, or the trace of a probe.
        states: On whose transcripts.

    Returns:
        Its frame has one row a moment, model (`student`, `teacher`) and unit (`token`, `word`): `accuracy`,
        `confidence`, `ece`, `brier`, `nce` and `overconfident_wrong` with `.low` and `.high`, `ece_if_calibrated`,
        `n_positions`, `n_groups`, `n_undefined`, and `reason` (why it is undefined). No rows where nothing was
        compared.

    Raises:
        UserError: No run, or a file is damaged.
    """
    want_run(run)
    rows, printed, over = [], [], "utterances"
    normalizers: dict[str, None] = {}
    for label, step, _, found in stage_moments(run, run.calibration, states):
        readings = calibration_readings(found)
        normalizers[readings.normalizer], over = None, readings.over
        for (model, unit), one in readings.items():
            row: dict[str, Any] = {"moment": label, "step": step, "model": model, "unit": unit}
            for name in CALIBRATED:
                value = getattr(one, name)
                row |= {name: value.value, f"{name}.low": value.low, f"{name}.high": value.high}
            row |= {"ece_if_calibrated": one.ece_if_calibrated, "n_positions": one.ece.n_positions}
            row |= {"n_groups": one.ece.n_groups, "n_undefined": one.ece.n_undefined}
            rows.append(row | {"reason": readings.reasons.get((model, unit))})
            shown = [one.accuracy.shown(3), one.confidence.shown(3), one.ece.shown(3)]
            shown += [number(one.ece_if_calibrated, 3), one.brier.shown(3), one.nce.shown(2)]
            n = [one.ece.n_positions, one.ece.n_groups, one.ece.n_undefined]
            cells = [f"{model}, {unit}s", *shown, one.overconfident_wrong.shown(1, 100), *map(count, n)]
            printed.append([label, count(step), *cells])
    heading = ["", "step", "of", "share right [95 %]", "mean probability [95 %]", "ECE [95 %]", "if calibrated"]
    heading += ["Brier [95 %]", "NCE [95 %]", "certain and wrong, % [95 %]", "n", f"n {over}", "left out"]
    notes = [
        f"Are tokens and words of the {states}'s rollouts right as often as each model's probability of them says? A "
        "word's probability is the product of its tokens'; a token is right if its word is; right and wrong under "
        f"{', '.join(normalizers)}. Certain and wrong: of all, at a probability above 0.9. [ ]: 95 % intervals over "
        f"{over}."
    ]
    return PrintedTable(pd.DataFrame(rows), heading, printed, notes if rows else [], left=3)


def _named(statistic: str) -> str:
    return f"{statistic}, s(y)" if statistic == TEACHERS_WORD else statistic
