"""Are confidences right as often as they say? For tokens and words of student or teacher, with cluster intervals.

>>> import numpy as np
>>> from overlap.calibration import Outcomes, calibration
>>> generator = np.random.default_rng(0)
>>> skill = generator.beta(8, 2, (60, 12))  # 60 utterances of 12 tokens
>>> outcomes = Outcomes(skill.ravel() ** 0.3, generator.random(720) < skill.ravel(), np.repeat(np.arange(60), 12))
>>> found = calibration(outcomes)
>>> print(found.ece)
0.133 [0.106, 0.163], 95 % interval over 60 clusters
>>> print(found.nce)
−0.127 [−0.191, −0.062], 95 % interval over 60 clusters

`token_outcomes` makes outcomes of the labels of `overlap.strata.correctness`, `word_outcomes` of an alignment.
`CalibrationReadings` holds those of both models at tokens and words together, as a table and for records.
"""

from overlap.calibration.measures import Calibration, ReliabilityBin, calibration, equal_mass_bins
from overlap.calibration.outcomes import (
    Outcomes,
    text_word_confidences,
    token_outcomes,
    word_confidences,
    word_outcomes,
)
from overlap.calibration.readings import CalibrationReadings

__all__ = [
    "Calibration",
    "CalibrationReadings",
    "Outcomes",
    "ReliabilityBin",
    "calibration",
    "equal_mass_bins",
    "text_word_confidences",
    "token_outcomes",
    "word_confidences",
    "word_outcomes",
]
