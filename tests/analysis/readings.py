"""Signal and calibration of probes, made up, as the trainer writes them."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from overlap.calibration import CalibrationReadings, Outcomes, calibration
from overlap.signal import SignalReadings, utterance_signal

NORMALIZER = "basic 2"


@cache
def signal_of(seed: int, noise: float, n: int = 40) -> SignalReadings:
    """A teacher's word that tells right from wrong the better, the less noise; and an agreement that does not."""
    generator = np.random.default_rng(seed)
    wrong = generator.poisson(1.0, n)
    values = {
        "teacher_logprob": -0.3 * wrong + noise * generator.normal(size=n),
        "top1_agreement": generator.random(n),
        "student_mass": np.full(n, np.nan),
    }
    found = utterance_signal(values, errors=wrong, words=np.full(n, 6), draws=100)
    return SignalReadings(found, NORMALIZER, {"student_mass": "only bounds of it are known"})


@cache
def calibration_of(seed: int, power: float, n: int = 40) -> CalibrationReadings:
    """Confidences that are too high for powers below 1; the teacher's words are not known."""
    generator = np.random.default_rng(seed)
    skill = generator.beta(4, 2, (n, 8))
    groups, right = np.repeat(np.arange(n), 8), generator.random(skill.size) < skill.ravel()
    found = {
        (model, unit): calibration(Outcomes(skill.ravel() ** power, right, groups), draws=100)
        for model in ("student", "teacher")
        for unit in ("token", "word")
    }
    found["teacher", "word"] = calibration(Outcomes(np.full(skill.size, np.nan), right, groups))
    return CalibrationReadings(found, "utterances", NORMALIZER, {("teacher", "word"): "the server did not list it"})


def write_readings(
    run: Path, places=((0, 0, "base"), (100, 0, "base"), (200, 1, "teacher data"), (300, 2, "on-policy"))
):
    """Write both records of some probes of a run; the later, the better the signal and the calibration."""
    for name in ("signal", "calibration"):
        (run / name).mkdir(exist_ok=True)
    for number, (step, visit, stage) in enumerate(places):
        place = {"step": step, "visit": visit, "stage": stage, "states": "student"}
        of = {
            "signal": signal_of(number, 2.0 / (1 + 10 * number)),
            "calibration": calibration_of(number, 0.3 + 0.2 * number),
        }
        for name, readings in of.items():
            path = run / name / f"step-{step:06d}-visit-{visit:03d}.parquet"
            pd.DataFrame([place | row for row in readings.rows()]).to_parquet(path)
    return run
