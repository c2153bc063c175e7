"""Signal and calibration of a run: read as they are asked for, absent without texts, and ready to use."""

import pandas as pd
import pytest

from analysis import load
from analysis.run.against_references import calibration_readings, signal_readings
from overlap.errors import UserError
from overlap.plain_json import plain
from overlap.signal import Verdict
from tests.analysis.conftest import write_run
from tests.analysis.readings import calibration_of, signal_of, write_readings
from tests.analysis.run.test_probe_output import write_trace


@pytest.fixture
def run(tmp_path):
    return write_readings(write_run(tmp_path / "run"))


def test_all_probes_in_the_order_of_the_run_and_their_readings(run):
    write_readings(run, [(999, 2, "on-policy")])  # left over from before a resumption
    read = load(run)
    assert list(dict.fromkeys(read.signal["step"])) == [0, 100, 200, 300]
    last = signal_readings(read.signal.loc[read.signal["step"] == 300])
    assert str(last) == str(signal_of(3, 2.0 / 31))
    assert last["teacher_logprob"].verdict is Verdict.CARRIES_SIGNAL
    first = calibration_readings(read.calibration.loc[read.calibration["step"] == 0])
    assert str(first) == str(calibration_of(0, 0.3))


def test_a_run_without_them_has_none(tmp_path):
    read = load(write_run(tmp_path / "run"))
    assert (len(read.signal), len(read.calibration)) == (0, 0)
    assert {"auroc", "verdict"} & {*read.signal} == {"verdict"}


@pytest.mark.parametrize("name", ["signal", "calibration"])
def test_a_damaged_file_is_named(run, name):
    path = next((run / name).iterdir())
    pd.read_parquet(path).drop(columns="value").to_parquet(path)
    with pytest.raises(UserError, match=rf"{path.name}.*columns \['value'\] are missing"):
        getattr(load(run), name)


def test_rows_of_several_probes_or_of_none_are_refused(run):
    read = load(run)
    with pytest.raises(UserError, match="one probe and kind of states, received several values of step; choose one of"):
        signal_readings(read.signal)
    with pytest.raises(UserError, match="there are none; choose a step that was probed on a set with texts"):
        calibration_readings(read.calibration.head(0))


def test_the_file_of_a_probe_has_its_own(tmp_path):
    found = {"signal": signal_of(0, 0.1), "calibration": calibration_of(0, 0.5)}
    tables = {name: [{"states": "student", **row} for row in one.rows()] for name, one in found.items()}
    read = load(write_trace(tmp_path / "probe.parquet", tables=plain(tables)))
    assert str(signal_readings(read.signal)) == str(signal_of(0, 0.1))
    assert str(calibration_readings(read.calibration)) == str(calibration_of(0, 0.5))
    assert load(write_trace(tmp_path / "without.parquet")).signal.empty
