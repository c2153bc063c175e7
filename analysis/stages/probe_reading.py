"""The funnel of a probe, and the numbers to read first in a run with one probe."""

from __future__ import annotations

import pandas as pd

from overlap import Estimate, Funnel, first_reading
from overlap.estimates.first_reading import FirstReading

from ..run.load import Run

FUNNEL = "funnel."
"""Prefix of the bins among the statistics of a probe."""


def funnel_of(probe: pd.DataFrame) -> Funnel | None:
    """Return the funnel among the rows of one probe on one kind of states; None if it has none."""
    bins = probe.loc[probe["statistic"].str.startswith(FUNNEL)]
    counts = zip(bins["statistic"].str.removeprefix(FUNNEL), bins["value"].astype(int), strict=True)
    return Funnel.from_dict(dict(counts)) if len(bins) else None


def probe_reading(run: Run) -> FirstReading:
    """Return the five numbers to read first in a run with one probe, on the first of its states and the teacher's."""
    first = run.probes["states"].iloc[0]
    own = run.probes.loc[run.probes["states"] == first].set_index("statistic")
    teachers = run.probes.loc[(run.probes["states"] == "teacher") & (first != "teacher")].set_index("statistic")
    estimates = {str(name): Estimate.from_dict(row.to_dict()) for name, row in own.iterrows()}
    estimates |= {f"teacher.{name}": Estimate.from_dict(row.to_dict()) for name, row in teachers.iterrows()}
    k = int(run.resolved["recipe"]["support"]["k"])
    return first_reading(estimates, funnel_of(own.reset_index()), k)
