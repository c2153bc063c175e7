"""Does the teacher's word carry signal about errors, and do statistics of overlap?

Agreement says nothing about being right. `utterance_signal` asks of any number for each transcript whether it tells
transcripts without error from others, and answers in one of three verdicts:

>>> import numpy as np
>>> from overlap.signal import utterance_signal
>>> generator = np.random.default_rng(0)
>>> errors = generator.poisson(generator.gamma(1.0, 1.0, 80))  # of 80 transcripts of 12 words each
>>> values = {
...     "mean_teacher_logprob": -0.2 - 0.1 * errors + 0.1 * generator.normal(size=80),
...     "top1_agreement": generator.beta(19, 1, 80),
... }
>>> for signal in utterance_signal(values, errors=errors, words=np.full(80, 12)).values():
...     print(signal)
mean_teacher_logprob: carries signal, AUROC 0.81 [0.69, 0.89] (31 right, 49 wrong)
top1_agreement: no useful signal, AUROC 0.44 [0.31, 0.57] (31 right, 49 wrong)

`SignalReadings` holds them together, as a table and for records. `rollout_signal` does so within utterances, from
several sampled rollouts of each, and `sign_agreement` asks whether the teacher prefers the better rollouts.
`low_kl_runs` finds stretches of suspicious agreement, `written_variation` and `set_variation` say on which side two
distributions differ.
"""

from overlap.signal.low_kl import LowKlRuns, LowKlSettings, low_kl_runs
from overlap.signal.readings import TEACHERS_WORD, SignalReadings
from overlap.signal.sign_agreement import SignAgreement, sign_agreement
from overlap.signal.utterances import LOWER_IS_BETTER, Signal, equal_bins, rollout_signal, utterance_signal
from overlap.signal.variation import Variation, set_variation, written_variation
from overlap.signal.verdict import CHANCE, USEFUL, Verdict, utterances_needed

__all__ = [
    "CHANCE",
    "LOWER_IS_BETTER",
    "TEACHERS_WORD",
    "USEFUL",
    "LowKlRuns",
    "LowKlSettings",
    "SignAgreement",
    "Signal",
    "SignalReadings",
    "Variation",
    "Verdict",
    "equal_bins",
    "low_kl_runs",
    "rollout_signal",
    "set_variation",
    "sign_agreement",
    "utterance_signal",
    "utterances_needed",
    "written_variation",
]
