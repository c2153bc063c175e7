"""A probe of long recordings by window: does the pair agree less at the begin, inside or at the end of a recording?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from overlap.estimates.estimate import Estimate
from overlap.estimates.table_formatting import html_table, text_table
from overlap.plain_json import plain
from overlap.strata import StratumSums, windows

from ..data.long_recordings import Pieces
from .probe import StateProbe

WINDOWS = "windows"
"""Name of the rows in a probe's file."""
SHOWN = ("top1_agreement", "total_variation", "overlap_ratio", "end_of_text", "repetition")
"""Statistics that are printed; the frame has all."""


@dataclass(frozen=True, eq=False)
class WindowStrata:
    """Statistics of a probe by window.

    Attributes:
        frame: As of `overlap.strata.by`, with the column `window`; intervals are over recordings, which `n_groups`
            counts.
        pieces: What was cut where.
    """

    frame: pd.DataFrame
    pieces: Pieces

    @classmethod
    def from_probe(cls, probed: StateProbe, pieces: Pieces) -> WindowStrata:
        """Break a probe's sums down by the window that each utterance is.

        Args:
            probed: The probe, of `pieces.utterances`.
            pieces: The recordings in pieces.
        """
        places = pieces.places
        labels = windows([places[str(name)] for name in probed.sums.keys])
        sums = StratumSums.from_group_sums(probed.sums, labels, ranges=probed.ranges)
        cells = {cell: inside.regrouped(probed.recordings) for cell, inside in sums.cells.items()}
        return cls(replace(sums, cells=cells).frame(states=probed.states), pieces)

    def to_dict(self) -> dict[str, Any]:
        """Return counts of the cuts and of recordings without a reference for their pieces, and a row for each window
        and statistic, as JSON can hold them."""
        counted = {**self.pieces.to_dict(), "n_without_reference": self.pieces.n_without_reference}
        return plain({**counted, "statistics": self.rows()})

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each window and statistic."""
        named = self.frame.astype({"window": str}).to_dict("records")
        return [{str(key): value for key, value in row.items()} for row in named]

    @property
    def n_recordings(self) -> int:
        """Recordings of which something was probed."""
        return sum(bool(names) for names in self.pieces.names.values())

    def _table(self) -> tuple[list[str], list[list[str]]]:
        by: dict[str, dict[str, Mapping[str, Any]]] = {}
        for row in self.frame.to_dict("records"):
            by.setdefault(str(row["window"]), {})[str(row["statistic"])] = {str(key): row[key] for key in row}
        names = [name for name in SHOWN if any(name in found for found in by.values())]
        rows = []
        for window, found in by.items():
            shown = [Estimate.from_dict(found[name]).shown(3) if name in found else "–" for name in names]
            counts = [max(int(row[key]) for row in found.values()) for key in ("n_groups", "n_positions")]
            rows.append([window, *shown, *(f"{count:,}" for count in counts)])
        return ["window", *names, "recordings", "positions"], rows

    def __str__(self) -> str:
        said = self.pieces.line or f"no recording is longer than {self.pieces.longest:g} s"
        return f"{text_table(*self._table())}\n{said}"

    def _repr_html_(self) -> str:
        return html_table(*self._table(), caption=f"By window; 95 % intervals over recordings. {self.pieces.line}")
