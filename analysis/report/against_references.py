"""Sections of a report on signal and calibration: what probes say against reference texts."""

from __future__ import annotations

from dataclasses import dataclass

from ..formatting import count
from ..printed_table import PrintedTable
from ..run.against_references import calibration_readings, signal_readings
from ..run.load import Run
from ..stages.ends import stage_moments
from ..tables.against_references import calibration_table, signal_table

NOT_MEASURED = (
    "Signal and calibration were not measured: the probe's manifest has no texts, or the run was made before probes "
    "compared transcripts with them."
)


@dataclass(frozen=True, eq=False)
class Part:
    """One section.

    Attributes:
        title: Its heading.
        sentence: What its numbers mean, at the latest moment.
        table: Its numbers at the start and the end of every stage.
        more: More numbers, folded, with their title; None if there are none.
    """

    title: str
    sentence: str
    table: PrintedTable
    more: tuple[str, PrintedTable] | None = None


def against_references(run: Run) -> tuple[Part, ...]:
    """Return the sections on calibration and signal; none where the probes did not compare with references."""
    return (*_calibration(run), *_signal(run))


def _calibration(run: Run) -> list[Part]:
    found = stage_moments(run, run.calibration, "student")
    if not found:
        return []
    last = found[-1]
    sentence = f"{_when(last.label, last.step)}: {calibration_readings(last.rows).sentence}"
    return [Part("Calibration", sentence, calibration_table(run))]


def _signal(run: Run) -> list[Part]:
    found = stage_moments(run, run.signal, "student")
    if not found:
        return []
    last = found[-1]
    sentence = f"{_when(last.label, last.step)}: {signal_readings(last.rows).sentence}"
    every = signal_table(run, None)
    return [Part("Signal", sentence, signal_table(run), ("Signal of every statistic", every))]


def _when(label: str, step: int) -> str:
    words = label[:1].upper() + label[1:]
    return f"{words} (step {count(step)})"
