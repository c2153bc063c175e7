"""The numbers to read first of a run that is one probe."""

from __future__ import annotations

from overlap import Estimate, Funnel, first_reading
from overlap.estimates.first_reading import FirstReading

from ..run.load import Run


def probe_reading(run: Run) -> FirstReading:
    """The five numbers to read first of a run that is one probe, on the first of its states."""
    own = run.probes.loc[run.probes["states"] == run.probes["states"].iloc[0]].set_index("statistic")
    counts = {str(n).removeprefix("funnel."): int(v) for n, v in own["value"].items() if str(n).startswith("funnel.")}
    estimates = {str(name): Estimate.from_dict(row.to_dict()) for name, row in own.iterrows()}
    k = int(run.resolved["recipe"]["support"]["k"])
    return first_reading(estimates, Funnel.from_dict(counts) if counts else None, k)
