"""Readings of confidences against what is right: calibration of tokens and words."""

from overlap.definitions.definition import Definition

_NOTHING = "without a token or word that has both a confidence and a label"

CALIBRATION_READINGS: dict[str, Definition] = {
    "ece": Definition(
        unit="probability",
        formula="Σ_b n_b/n · |share right in bin b − mean confidence in bin b| over 10 bins of equal mass; c is the "
        "model's probability of the written token, of a word the product of its tokens'",
        range="0 … 1",
        undefined=_NOTHING,
        source="expected calibration error, equal-mass bins: Nguyen & O'Connor 2015, Nixon et al. (arXiv 1904.01685)",
        reading="The target is 0, but it is biased upward: compare with `ece_if_calibrated` at the same n. A token is "
        "right if its word is; tokens without text or beside missing words are left out. Published: on-policy "
        "distillation makes students overconfident (arXiv 2604.16830), and so is Whisper (arXiv 2509.07195).",
    ),
    "ece_if_calibrated": Definition(
        unit="probability",
        formula="mean ECE of simulated outcomes that are right with probability c, in the same bins",
        range="0 … 1",
        undefined=_NOTHING,
        source="this library",
        reading="An ECE near it shows nothing. Outcomes are simulated as independent; where errors of an utterance "
        "come together, the ECE of a calibrated model is larger.",
    ),
    "brier": Definition(
        unit="squared probability",
        formula="mean of (c − y)², y = 1 where right, else 0",
        range="0 … 1",
        undefined=_NOTHING,
        source="Brier 1950",
        reading="Lower is better; it rewards being right as well as being calibrated. Always saying the share a that "
        "is right gives a(1 − a).",
    ),
    "nce": Definition(
        unit="ratio",
        formula="(H(a) − CE) / H(a), a the share right, CE = −mean[y ln c + (1 − y) ln(1 − c)]; "
        "c is taken as at least 10⁻⁶ and at most 1 − 10⁻⁶",
        range="−∞ … 1",
        undefined="where all are right or all are wrong",
        source="normalized cross-entropy, Siu et al. 1997, as in NIST's evaluations",
        reading="1 for certainty that is always right, 0 for saying a of all, below 0 for confidences that are worse "
        "than that: overconfident models are often below 0.",
    ),
    "overconfident_wrong": Definition(
        unit="share",
        formula="tokens or words with c > 0.9 that are wrong / all",
        range="0 … 1",
        undefined=_NOTHING,
        source="this library",
        reading="The target is 0. Errors that no threshold on confidence would find; if the teacher's share is high as "
        "well, it confirms the student's errors.",
    ),
    "accuracy": Definition(
        unit="share",
        formula="tokens or words that are right / all that have a label",
        range="0 … 1",
        undefined=_NOTHING,
        source="standard; alignment at minimum edit distance (jiwer) under the evaluation's normalizer",
        reading="Missing words have no confidence and do not count, so it is no error rate.",
    ),
    "confidence": Definition(
        unit="probability",
        formula="mean of c",
        range="0 … 1",
        undefined=_NOTHING,
        source="standard",
        reading="Above the share that is right: overconfident on average; below: underconfident.",
    ),
}
"""Readings of confidences, see `overlap.calibration`."""
