"""Statistics of all positions of a probe, also of those that no other statistic is averaged over."""

from overlap.definitions.definition import Definition

PROBE_STATISTICS: dict[str, Definition] = {
    "used": Definition(
        unit="share",
        formula="positions that are used / positions of all transcripts",
        range="0 … 1",
        undefined="without positions",
        source="this library; the last bin of the position funnel",
        reading="Read it with the end of text, before overlap: statistics of positions are averages over the used ones "
        "alone, so a pair that agrees on the few positions that are left agrees on nothing that matters. The target is "
        "1; the funnel says where the others went. A probe counts all its positions, so a gate may read the value.",
    ),
}
"""Statistics of a probe's positions, see `overlap.estimates.funnel`."""
