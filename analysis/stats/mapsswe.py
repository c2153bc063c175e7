"""The matched-pairs sentence-segment word error test."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from overlap.errors import UserError

from ..formatting import count, number, p_text
from ..run.checks import numbers


@dataclass(frozen=True)
class Mapsswe:
    """Result of the matched-pairs sentence-segment word error test.

    Attributes:
        z: Mean difference in errors per segment, divided by its standard error; above 0 the second system has more.
        p_value: Two-sided, from the normal distribution; NaN if all segments have the same difference.
        mean: Mean difference in errors per segment, second − first.
        n_segments: Segments: here, utterances.
    """

    z: float
    p_value: float
    mean: float
    n_segments: int

    def __str__(self) -> str:
        return (
            f"MAPSSWE by utterance: z = {number(self.z, 2)}, p {p_text(self.p_value, '=')}, "
            f"{count(self.n_segments)} segments"
        )


def mapsswe(first: np.ndarray, second: np.ndarray) -> Mapsswe:
    """Test whether two systems make equally many errors, segment by segment (Gillick & Cox, ICASSP 1989, section 4).

    A segment here is an utterance. The authors divide longer recordings where both systems are correct for a while, so
    that errors do not extend into the next segment; NIST's sc_stats divides after two words that both have correct, and
    counts only segments with an error. Utterances without errors do not change the sum of the differences and hardly
    change z, if the difference is small relative to its spread. Divide utterances of several minutes beforehand; if few
    speakers spoke all utterances, use `error_rate_difference(…, by="speaker")` instead.

    Args:
        first: `[n]` errors of the first system in each segment.
        second: `[n]` of the second.

    Raises:
        UserError: No numbers, or the numbers of segments differ.
    """
    a, b = (numbers(e, name, "transcripts['words.errors']") for e, name in ((first, "first"), (second, "second")))
    if a.ndim != 1 or a.shape != b.shape:
        raise UserError(
            f"expected the errors of both systems in the same segments, received {list(a.shape)} and {list(b.shape)}"
        )
    d, z = b - a, math.nan
    if len(d) >= 2 and (spread := d.std(ddof=1)) > 0:
        z = float(d.mean() / (spread / math.sqrt(len(d))))
    p = math.nan if math.isnan(z) else float(2 * stats.norm.sf(abs(z)))
    return Mapsswe(z, p, float(d.mean()) if len(d) else math.nan, len(d))
