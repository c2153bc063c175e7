"""The signal of several statistics of one probe: as rows of a record, as a table, and in a sentence."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from overlap.estimates.clusters import Over
from overlap.estimates.estimate import Estimate
from overlap.estimates.number_formatting import UNDEFINED, count, counts
from overlap.estimates.table_formatting import aligned, html_table
from overlap.plain_json import number, plain
from overlap.signal.utterances import Signal
from overlap.signal.verdict import CHANCE, Verdict

TEACHERS_WORD = "teacher_logprob"
"""The statistic whose mean over a transcript is s(y): the mean log-probability that the teacher gives to its tokens."""
QUANTITIES = ("auroc", "informativeness", "spearman")
"""Estimates of a `Signal`, each a row of the record."""
_OF_STATISTIC = ("better", "over", "n_right", "n_wrong", "p_chance", "p_useful")
_NOT_IN_TEXT = ("informativeness", "left out")
_WORDS = {
    Verdict.CARRIES_SIGNAL: "carries signal about errors: right transcripts have a higher mean log-probability under "
    "the teacher than wrong ones",
    Verdict.NO_USEFUL_SIGNAL: "carries no useful signal about errors: the teacher hardly prefers right transcripts to "
    "wrong ones, so agreeing with it need not lower the error rate",
    Verdict.UNDECIDED: "may or may not carry signal about errors: these transcripts do not decide",
}


@dataclass(frozen=True, eq=False, repr=False)
class SignalReadings(Mapping[str, Signal]):
    """What each statistic says about the errors of the same transcripts; a mapping from statistic to `Signal`.

    Attributes:
        signals: by statistic, from one call of `utterance_signal`, so that verdicts are corrected for their number.
        normalizer: name and version of the normalizer under which errors were counted.
        reasons: why a statistic is undefined, by its name.
    """

    signals: Mapping[str, Signal]
    normalizer: str
    reasons: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, statistic: str) -> Signal:
        return self.signals[statistic]

    def __iter__(self) -> Iterator[str]:
        return iter(self.signals)

    def __len__(self) -> int:
        return len(self.signals)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each statistic and quantity, as records hold them."""
        return [
            {"statistic": name, "quantity": quantity, **getattr(signal, quantity).to_dict()}
            | {column: getattr(signal, column) for column in _OF_STATISTIC}
            | {"verdict": str(signal.verdict), "needed": signal.needed}
            | {"normalizer": self.normalizer, "reason": self.reasons.get(name)}
            for name, signal in self.signals.items()
            for quantity in QUANTITIES
        ]

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> "SignalReadings":
        """The inverse of `rows`, for one probe and kind of states."""
        by_statistic: dict[str, dict[str, Mapping[str, Any]]] = {}
        for row in rows:
            by_statistic.setdefault(str(row["statistic"]), {})[str(row["quantity"])] = row
        signals, reasons, normalizer = {}, {}, ""
        for name, found in by_statistic.items():
            row = found[QUANTITIES[0]]
            needed, reason, normalizer = row["needed"], row["reason"], str(row["normalizer"])
            signals[name] = Signal(
                statistic=name,
                better=row["better"],
                **{quantity: _estimate(found[quantity]) for quantity in QUANTITIES},
                n_right=int(row["n_right"]),
                n_wrong=int(row["n_wrong"]),
                over=row["over"],
                p_chance=number(row["p_chance"]),
                p_useful=number(row["p_useful"]),
                verdict=Verdict(row["verdict"]),
                needed=None if needed is None or math.isnan(needed) else int(needed),
            )
            if isinstance(reason, str):
                reasons[name] = reason
        return cls(signals, normalizer, reasons)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return plain({"normalizer": self.normalizer, "sentence": self.sentence, "rows": self.rows()})

    @property
    def over(self) -> Over:
        """What the intervals are over."""
        for signal in self.signals.values():
            return signal.over
        return "utterances"

    @property
    def sentence(self) -> str:
        """What the numbers say: the verdict on the teacher's word, and the statistics that share it or do not."""
        word = self.signals.get(TEACHERS_WORD)
        if word is None or word.verdict is Verdict.UNDEFINED:
            said = f"Whether the teacher's word carries signal about errors is undefined: {self._why(word)}."
        else:
            said = f"The teacher's word {_WORDS[word.verdict]} (AUROC of s(y) {word.auroc.shown(2)}; {_counted(word)}"
            if word.is_open_by_correction:
                said += f"; alone it would be decided, among {len(self)} statistics it is not"
            said += f"; about {count(word.needed)} transcripts would decide)." if word.needed else ")."
        others = [signal for name, signal in self.signals.items() if name != TEACHERS_WORD]
        words = {Verdict.CARRIES_SIGNAL: "Carrying signal as well", Verdict.NO_USEFUL_SIGNAL: "Without useful signal"}
        for verdict, verb in words.items():
            if named := [f"`{one.statistic}`" for one in others if one.verdict is verdict]:
                said += f" {verb}: {', '.join(named)}."
        if against := [f"`{one.statistic}`" for one in others if one.auroc.high < CHANCE]:
            said += f" Pointing the other way, better values where transcripts are wrong: {', '.join(against)}."
        return said

    def _why(self, word: Signal | None) -> str:
        if TEACHERS_WORD in self.reasons:
            return self.reasons[TEACHERS_WORD]
        if word is None:
            return f"{TEACHERS_WORD} was not measured"
        return f"no right transcript can be compared with a wrong one ({_counted(word)})"

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Heading and one row for each statistic."""
        heading = ["statistic", "verdict", "AUROC", "informativeness", "Spearman ρ"]
        heading += ["right", "wrong", "left out", "would decide"]
        rows = [
            [
                f"{name}, s(y)" if name == TEACHERS_WORD else name,
                signal.verdict_in_words,
                *(
                    getattr(signal, quantity).shown(2 if quantity != "informativeness" else 3)
                    for quantity in QUANTITIES
                ),
                count(signal.n_right),
                count(signal.n_wrong),
                count(signal.auroc.n_undefined),
                UNDEFINED if signal.needed is None else count(signal.needed),
            ]
            for name, signal in self.signals.items()
        ]
        return heading, rows

    @property
    def title(self) -> str:
        """What the table shows, with the unit of its intervals."""
        n = [float(signal.auroc.n_groups) for signal in self.signals.values() if signal.auroc.n_groups]
        over = f"{counts(n)} {self.over}" if n else self.over
        said = "signal: does a transcript's mean of a statistic tell right transcripts from wrong ones? "
        said += f"95 % intervals over {over}, verdicts Holm-corrected over {len(self.signals)} statistics, "
        said += f"errors under {self.normalizer}"
        return "; ".join([said, *(f"{name}: {reason}" for name, reason in self.reasons.items())])

    def __str__(self) -> str:
        heading, rows = self.table()
        kept = [place for place, name in enumerate(heading) if name not in _NOT_IN_TEXT]
        lines = [[line[place] for place in kept] for line in (heading, *rows)]
        return f"{self.title}\n{aligned(lines, left=(0, 1))}\n{self.sentence}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(*self.table(), left=(0, 1), caption=f"{self.title}. {self.sentence}")


def _counted(signal: Signal) -> str:
    return f"{count(signal.n_right)} right, {count(signal.n_wrong)} wrong"


def _estimate(row: Mapping[str, Any]) -> Estimate:
    return Estimate.from_dict({name: number(row[name]) if row[name] is None else row[name] for name in row})
