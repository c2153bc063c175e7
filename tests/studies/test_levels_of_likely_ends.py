"""The table of levels says of the end of text what the kept results of the study say."""

import pandas as pd
import pytest

from overlap.gates import READINESS
from tests.studies.test_termination import RESULTS

RECIPES = {"demo": "demo", "matched": "demo_matched", "speech": "whisper_tiny_en"}


@pytest.mark.parametrize("setting", RECIPES)
def test_levels_of_likely_ends_are_those_of_sound_runs(setting):
    runs = pd.read_csv(RESULTS / "termination.csv").query("setting == @setting")
    row = READINESS[f"{RECIPES[setting]}/switch/student_end_likely.at_end"]
    every = READINESS["any/switch/student_end_likely.at_end"]
    assert row.n == len(runs)
    assert (runs["likely ends at switch"] >= row.level).all()
    reached = int((runs["likely ends at most"] >= every.level).sum())
    assert reached == {"demo": 0, "matched": 1, "speech": 3}[setting]
    began = READINESS[f"{RECIPES[setting]}/switch/top1_agreement"]
    assert began.n == 3  # of the demo, the seeds of its own study
    assert (runs["WER end"] < runs["WER Base"]).all()
    assert (runs["alarms"] == 0).all()
    assert (runs["refused steps"] == 0).all()
