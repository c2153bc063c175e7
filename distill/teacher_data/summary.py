"""Summary of teacher data: dropped transcripts by filter, with the values that the filters checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from overlap.estimates.table_formatting import text_table
from overlap.plain_json import plain

from ..data.long_recordings import Pieces
from ..evaluation.scoring import TranscriptScore
from ..recipe import Filters

QUANTILES = (0.05, 0.5, 0.95)

N_EXAMPLES = 3
"""Number of dropped utterances that a summary shows for each filter."""

_SHOWN = 40
"""Maximum number of characters of an example's text in a line."""


@dataclass(frozen=True)
class Example:
    """An utterance that a filter drops.

    Attributes:
        id: Of the utterance.
        value: The value that the filter checked.
        text: The teacher's transcript; None for unusable audio.
    """

    id: str
    value: float
    text: str | None

    def __str__(self) -> str:
        if self.text is None:
            return f"{self.id} ({self.value:.3g})"
        text = " ".join(self.text.split())
        shown = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
        return f'{self.id} ({self.value:.3g}) "{shown}"'


@dataclass(frozen=True)
class FilterCount:
    """Result of one filter.

    Attributes:
        name: Its key in the settings.
        setting: Its limit, None if it is off; a word where it has none.
        n_dropped: Utterances that it drops; other filters may drop them too.
        n_undefined: Utterances with an undefined value, which it keeps.
        quantiles: Quantiles of the checked values, at `QUANTILES`; NaN if they are not numbers.
        examples: At most `N_EXAMPLES` dropped utterances, the worst first.
    """

    name: str
    setting: float | str | None
    n_dropped: int
    n_undefined: int
    quantiles: tuple[float, ...]
    examples: tuple[Example, ...] = ()

    @classmethod
    def from_values(
        cls, name: str, filters: Filters, values: Sequence[float], dropped: Sequence[Example]
    ) -> FilterCount:
        """Count the results of a filter.

        Args:
            name: Its key in the settings.
            filters: The settings.
            values: One number for each utterance, NaN where undefined.
            dropped: Utterances that it drops.
        """
        setting = getattr(filters, name)
        defined = [value for value in values if not math.isnan(value)]
        numbers = defined and not isinstance(setting, str)
        quantiles = np.quantile(defined, QUANTILES).tolist() if numbers else [math.nan] * len(QUANTILES)
        worst = sorted(dropped, key=lambda example: example.value, reverse=not name.startswith("min_"))
        undefined = len(values) - len(defined)
        return cls(name, setting, len(dropped), undefined, tuple(quantiles), tuple(worst[:N_EXAMPLES]))

    @property
    def rule(self) -> str:
        """The rule by which it keeps utterances, in words."""
        if self.setting is None or isinstance(self.setting, str):
            return self.setting or "off"
        return f"{'≥' if self.name.startswith('min_') else '≤'} {self.setting:g}"


@dataclass(frozen=True)
class TeacherDataSummary:
    """Kept and dropped utterances of a job.

    Attributes:
        teacher: Description of the teacher.
        n: Utterances.
        n_kept: Kept utterances.
        seconds: Known seconds of audio; NaN without audio.
        seconds_kept: Seconds of kept audio.
        filters: Result of each filter.
        padding_share: Share of the batches' seconds that was padding.
        scores: Error rates against references, of `all` utterances that have one and of the `kept` ones among them.
        n_ids_known: Transcripts with known tokens.
        n_recut: Those of them whose text the teacher's tokenizer encodes to other tokens.
        pieces: How long recordings were cut; their transcripts are then counted by piece, and `recordings` among the
            scores are of the joined ones.
    """

    teacher: str
    n: int
    n_kept: int
    seconds: float
    seconds_kept: float
    filters: tuple[FilterCount, ...]
    padding_share: float
    scores: Mapping[str, TranscriptScore]
    n_ids_known: int = 0
    n_recut: int = 0
    pieces: Pieces | None = None

    @property
    def reasons(self) -> str:
        """Numbers dropped by each filter, with share and worst example, in words."""
        dropped = (
            f"{f.name} {f.n_dropped:,} ({f.n_dropped / self.n:.1%}, such as {f.examples[0]})"
            for f in self.filters
            if f.n_dropped
        )
        return "; ".join(dropped) or "no filter dropped any"

    @property
    def line(self) -> str:
        """The summary in one line."""
        return f"{self.n_kept:,} of {self.n:,} transcripts of {self.teacher} kept; dropped: {self.reasons}"

    def to_dict(self) -> dict[str, Any]:
        """Return a tree that JSON can hold, see `overlap.plain_json`."""
        tree = {
            "teacher": self.teacher,
            "n": self.n,
            "n_kept": self.n_kept,
            "n_dropped": self.n - self.n_kept,
            "share_kept": self.n_kept / self.n,
            "hours": self.seconds / 3600,
            "hours_kept": self.seconds_kept / 3600,
            "filters": {
                f.name: {
                    "setting": f.setting,
                    "n_dropped": f.n_dropped,
                    "share_dropped": f.n_dropped / self.n,
                    "n_undefined": f.n_undefined,
                    "quantiles": {f"{q:g}": value for q, value in zip(QUANTILES, f.quantiles, strict=True)},
                    "examples": [{"id": e.id, "value": e.value, "text": e.text} for e in f.examples],
                }
                for f in self.filters
            },
            "padding_share": self.padding_share,
            "round_trip": {"n_judged": self.n_ids_known, "n_recut": self.n_recut},
            "scores": {name: score.to_dict() for name, score in self.scores.items()},
        }
        if self.pieces is not None:
            tree["long_recordings"] = self.pieces.to_dict()
        return plain(tree)

    def __str__(self) -> str:
        header = ["filter", "setting", "drops", "share", "undefined", *(f"{100 * q:g} %" for q in QUANTILES)]
        rows = [
            [f.name, f.rule, f"{f.n_dropped:,}", f"{f.n_dropped / self.n:.2%}", f"{f.n_undefined:,}"]
            + ["" if math.isnan(value) else f"{value:.3g}" for value in f.quantiles]
            for f in self.filters
        ]
        dropped = self.n - self.n_kept
        rows.append(["any of them", "", f"{dropped:,}", f"{dropped / self.n:.2%}", "", "", "", ""])
        has_audio = not math.isnan(self.seconds)
        hours = f", {self.seconds_kept / 3600:.2f} of {self.seconds / 3600:.2f} hours" if has_audio else ""
        lines = [
            f"teacher data of {self.teacher}: {self.n_kept:,} of {self.n:,} utterances kept "
            f"({self.n_kept / self.n:.2%}){hours}",
            text_table(header, rows, left=(0, 1)),
            "undefined: kept because the filter cannot judge it; %: quantiles of the checked values, over all "
            "utterances",
        ]
        if not math.isnan(self.padding_share):
            lines.append(f"padding was {self.padding_share:.1%} of the seconds in batches")
        if self.pieces is not None and self.pieces.line:
            lines.append(self.pieces.line)
        lines += [f"dropped by {f.name}: {'; '.join(map(str, f.examples))}" for f in self.filters if f.examples]
        if self.n_recut:
            lines.append(
                f"{self.n_recut:,} of {self.n_ids_known:,} of them are encoded to other tokens by the teacher's "
                "tokenizer; labels are its own tokens if the student has the same vocabulary"
            )
        lines += [f"{name} with a reference: {score}" for name, score in self.scores.items()]
        return "\n".join(lines)
