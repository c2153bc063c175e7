"""Records of what a probe says against reference texts, signal and calibration, and by window of recordings."""

from __future__ import annotations

from typing import Literal

from .kinds import Integer, Number, Text, needed
from .records import Place, Probe


class SignalReading(Place):
    """One file per probe of a set with texts, with its name: does a statistic tell right transcripts from wrong ones?

    One row per statistic and quantity. Columns from `better` to `needed` are of the statistic, the same in all its
    rows. Training does not read it.
    """

    states: Text = needed("on whose transcripts")
    statistic: Text = needed("name as in STATISTICS.md; each utterance has its mean over the utterance's positions")
    quantity: Literal["auroc", "informativeness", "spearman"] = needed("what is measured, see STATISTICS.md")
    value: Number = needed("the number")
    standard_error: Number = needed("of it")
    low: Number = needed("lower bound of the 95 % interval")
    high: Number = needed("upper bound")
    n_positions: Integer = needed("utterances in it")
    n_groups: Integer = needed("of these, independent units: speakers or utterances, see `over`")
    n_undefined: Integer = needed("utterances that are not in it: without a reference, or the statistic is undefined")
    better: Literal["higher", "lower"] = needed("which values of the statistic a right transcript is expected to have")
    over: Literal["speakers", "utterances"] = needed("what intervals are over")
    n_right: Integer = needed("transcripts without error")
    n_wrong: Integer = needed("transcripts with errors")
    p_chance: Number = needed("p-value of an AUROC of 0.5, Holm-corrected over the probe's statistics")
    p_useful: Number = needed("p-value of an AUROC of 0.65, likewise")
    verdict: Literal["carries signal", "no useful signal", "undecided", "undefined"] = needed("on the statistic")
    needed_utterances: Integer | None = needed(
        "where undecided, about how many utterances would decide; null elsewhere", alias="needed"
    )
    normalizer: Text = needed("name and version of the normalizer under which errors are counted")
    reason: Text | None = needed("why the statistic is undefined; null where it is not, or verdict and counts say it")


class CalibrationReading(Place):
    """One file per probe of a set with texts, with its name: are confidences right as often as they say?

    A confidence is the probability that a model gives to a token of the transcript; that of a word is the product of
    its tokens'. Rows per model and unit: one per quantity, and one per bin of the reliability diagram. Training does
    not read it.
    """

    states: Text = needed("on whose transcripts")
    model: Literal["student", "teacher"] = needed("whose probability of the written token is the confidence")
    unit: Literal["token", "word"] = needed("what is right or wrong")
    quantity: Literal[
        "ece", "ece_if_calibrated", "brier", "nce", "overconfident_wrong", "accuracy", "confidence", "bin"
    ] = needed("what is measured, see STATISTICS.md; `bin` is the share of right ones in a bin")
    value: Number = needed("the number; NaN where it is undefined")
    standard_error: Number = needed("of it; NaN of `ece_if_calibrated`, which has no interval")
    low: Number = needed("lower bound of the 95 % interval")
    high: Number = needed("upper bound")
    n_positions: Integer = needed("tokens or words in it")
    n_groups: Integer = needed("of these, independent units: speakers or utterances, see `over`")
    n_undefined: Integer = needed("tokens or words without a label or a confidence")
    over: Literal["speakers", "utterances"] = needed("what intervals are over")
    bin: Integer | None = needed("number of the bin, from 0, of equal mass; null for other quantities")
    bin_low: Number | None = needed("its lower edge")
    bin_high: Number | None = needed("its upper edge, which is in the bin")
    bin_confidence: Number | None = needed("mean confidence in the bin")
    normalizer: Text = needed("name and version of the normalizer under which transcript and reference are aligned")
    reason: Text | None = needed("why nothing was measured; null where it was")


class WindowReading(Probe):
    """Readings of a probe of recordings that were cut, in the metadata of its file: one row per window and statistic.

    Intervals are over recordings, which `n_groups` counts.
    """

    window: Text = needed("the part of its recording that a piece is")
