"""The calibration of both models at tokens and words of one probe: as rows of a record, as a table, in a sentence."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from overlap.calibration.measures import BINS, CERTAIN, CLIP, Calibration, ReliabilityBin
from overlap.estimates.clusters import Over
from overlap.estimates.estimate import Estimate
from overlap.estimates.number_formatting import count, number
from overlap.estimates.table_formatting import aligned, html_table
from overlap.plain_json import number as from_json
from overlap.plain_json import plain

Model = Literal["student", "teacher"]
Unit = Literal["token", "word"]
ESTIMATED = ("ece", "brier", "nce", "overconfident_wrong", "accuracy", "confidence")
"""Estimates of a `Calibration`, each a row of the record, beside `ece_if_calibrated` and the bins."""
_NOT_IN_TEXT = ("Brier", "clusters", "left out")
_NOT_MEASURED = dict.fromkeys(("standard_error", "low", "high"), math.nan)


ONE_DIRECTION = 0.5
"""Share of the ECE that mean probability less accuracy must be for over- or underconfidence to be said; below it,
errors of both directions cancel. A convention of ours."""
NEARLY_NEVER, MANY = 0.05, 0.25
"""Mean probability below which a teacher reads what it would not write, and share of right tokens from which on that is
not because they are wrong. Conventions of ours."""
OTHER_FORM = (
    "most likely because the two write in different forms, such as capital letters or numerals: compare ten pairs of "
    "transcripts"
)


@dataclass(frozen=True, eq=False, repr=False)
class CalibrationReadings(Mapping[tuple[Model, Unit], Calibration]):
    """Calibration by model and unit, such as `readings["student", "token"]`.

    A confidence is the probability that the model gives to the written token; that of a word is the product of its
    tokens'. What is written is the student's, so that the teacher's are those of a reader.

    Attributes:
        measured: by model and unit.
        over: what the intervals are over.
        normalizer: name and version of the normalizer under which transcript and reference were aligned.
        reasons: why a calibration is undefined.
    """

    measured: Mapping[tuple[Model, Unit], Calibration]
    over: Over
    normalizer: str
    reasons: Mapping[tuple[Model, Unit], str] = field(default_factory=dict)

    def __getitem__(self, of: tuple[Model, Unit]) -> Calibration:
        return self.measured[of]

    def __iter__(self) -> Iterator[tuple[Model, Unit]]:
        return iter(self.measured)

    def __len__(self) -> int:
        return len(self.measured)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each model, unit and quantity, and one for each bin, as records hold them."""
        rows = []
        for (model, unit), found in self.measured.items():
            of = {"model": model, "unit": unit}
            about = {"over": self.over, "normalizer": self.normalizer, "reason": self.reasons.get((model, unit))}
            no_bin = dict.fromkeys(("bin", "bin_low", "bin_high", "bin_confidence"))
            estimates = {name: getattr(found, name).to_dict() for name in ESTIMATED}
            estimates["ece_if_calibrated"] = estimates["ece"] | {"value": found.ece_if_calibrated, **_NOT_MEASURED}
            rows += [of | {"quantity": name, **one, **no_bin} | about for name, one in estimates.items()]
            rows += [
                of
                | {"quantity": "bin", **one.accuracy.to_dict(), "bin": place}
                | {"bin_low": one.low, "bin_high": one.high, "bin_confidence": one.confidence}
                | about
                for place, one in enumerate(found.diagram)
            ]
        return rows

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> "CalibrationReadings":
        """The inverse of `rows`, for one probe and kind of states; settings are the library's own."""
        parts: dict[tuple[Model, Unit], list[Mapping[str, Any]]] = {}
        over: Over = "utterances"
        normalizer, reasons = "", {}
        for row in rows:
            of = row["model"], row["unit"]
            parts.setdefault(of, []).append(row)
            over, normalizer = row["over"], str(row["normalizer"])
            if isinstance(row["reason"], str):
                reasons[of] = row["reason"]
        return cls({of: _calibration(part) for of, part in parts.items()}, over, normalizer, reasons)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return plain({"normalizer": self.normalizer, "sentence": self.sentence, "rows": self.rows()})

    @property
    def sentence(self) -> str:
        """What the numbers say of both models' tokens."""
        return " ".join(self._said(model) for model in ("student", "teacher") if (model, "token") in self.measured)

    def _said(self, model: Model) -> str:
        found, reason = self.measured[model, "token"], self.reasons.get((model, "token"))
        if math.isnan(found.ece.value):
            return f"The {model}'s calibration is undefined: {reason or 'no token could be compared with a reference'}."
        gap, ece = found.confidence.value - found.accuracy.value, f"ECE {found.ece.shown(3)}"
        if math.isnan(found.ece.low):
            return f"The {model}'s calibration has no interval ({ece}): one cluster is too few."
        by_chance = f"{number(found.ece_if_calibrated, 3)} if it were calibrated"
        if found.ece.low <= found.ece_if_calibrated:
            verdict = "cannot be told from a calibrated model here"
        elif abs(gap) < ONE_DIRECTION * found.ece.value:
            verdict = "is miscalibrated in both directions"
        else:
            verdict = "is overconfident" if gap > 0 else "is underconfident"
        likely = f"; {OTHER_FORM}" if model == "teacher" and _is_other_form(found) else ""
        name = f"The {model}" if model == "student" else "The teacher, which reads the student's tokens,"
        certain = f"{found.overconfident_wrong.shown(1, 100)} % of tokens are wrong at a probability above"
        return (
            f"{name} {verdict}: its probability of a token is {number(found.confidence.value, 3)} on average, and "
            f"{number(found.accuracy.value, 3)} of the tokens are right ({ece}; {by_chance}){likely}; {certain} "
            f"{found.certain:g}."
        )

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Heading and one row for each model and unit."""
        heading = ["of", "accuracy", "confidence", "ECE", "if calibrated", "Brier", "NCE", "certain and wrong, %"]
        heading += ["n", "clusters", "left out"]
        rows = [
            [
                f"{model}, {unit}s",
                *(one.shown(3) for one in (found.accuracy, found.confidence, found.ece)),
                number(found.ece_if_calibrated, 3),
                *(one.shown(3) for one in (found.brier, found.nce)),
                found.overconfident_wrong.shown(1, 100),
                *map(count, (found.ece.n_positions, found.ece.n_groups, found.ece.n_undefined)),
            ]
            for (model, unit), found in self.measured.items()
        ]
        return heading, rows

    @property
    def title(self) -> str:
        """What the table shows, with the unit of its intervals."""
        said = "calibration: is a token or word right as often as its probability says? A word's probability is the "
        said += f"product of its tokens'; 95 % intervals over {self.over}, {BINS} bins of equal mass, right and wrong "
        said += f"under {self.normalizer}"
        return "; ".join([said, *(f"{model}, {unit}s: {why}" for (model, unit), why in self.reasons.items())])

    def __str__(self) -> str:
        heading, rows = self.table()
        kept = [place for place, name in enumerate(heading) if name not in _NOT_IN_TEXT]
        lines = [[line[place] for place in kept] for line in (heading, *rows)]
        return f"{self.title}\n{aligned(lines)}\n{self.sentence}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(*self.table(), caption=f"{self.title}. {self.sentence}")


def _is_other_form(found: Calibration) -> bool:
    """Whether tokens are right that their reader would nearly never write."""
    return found.confidence.value < NEARLY_NEVER and found.accuracy.value >= MANY


def _calibration(rows: list[Mapping[str, Any]]) -> Calibration:
    whole = {row["quantity"]: row for row in rows if row["quantity"] != "bin"}
    bins = sorted((row for row in rows if row["quantity"] == "bin"), key=lambda row: row["bin"])
    diagram = [
        ReliabilityBin(float(row["bin_low"]), float(row["bin_high"]), float(row["bin_confidence"]), _estimate(row))
        for row in bins
    ]
    return Calibration(
        **{name: _estimate(whole[name]) for name in ESTIMATED},
        ece_if_calibrated=from_json(whole["ece_if_calibrated"]["value"]),
        diagram=tuple(diagram),
        bins=BINS,
        clip=CLIP,
        certain=CERTAIN,
    )


def _estimate(row: Mapping[str, Any]) -> Estimate:
    return Estimate.from_dict({name: from_json(None) if value is None else value for name, value in row.items()})
