"""Tables of signal and calibration: a row a moment, with numbers, counts and reasons."""

import pytest

from analysis import calibration_table, load, signal_table
from overlap.errors import UserError
from tests.analysis.conftest import write_run
from tests.analysis.readings import calibration_of, signal_of, write_readings


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return load(write_readings(write_run(tmp_path_factory.mktemp("readings") / "run")))


def test_signal_of_the_teachers_word_at_start_and_ends(run):
    table = signal_table(run)
    assert table.frame["moment"].tolist() == ["start", "after base", "after teacher data", "after on-policy"]
    last, own = table.frame.iloc[-1], signal_of(3, 2.0 / 31)["teacher_logprob"]
    assert (last["auroc"], last["auroc.low"], last["verdict"]) == (own.auroc.value, own.auroc.low, "carries signal")
    assert (last["n_right"], last["n_wrong"]) == (own.n_right, own.n_wrong)
    assert "Holm-corrected over 3 statistics" in table.to_text()
    assert own.auroc.shown(2) in table.to_markdown()


def test_signal_of_every_statistic_with_the_reason_where_it_is_undefined(run):
    frame = signal_table(run, None).frame
    assert len(frame) == 4 * 3
    undefined = frame.loc[frame["statistic"] == "student_mass"]
    assert set(undefined["verdict"]) == {"undefined"}
    assert set(undefined["reason"]) == {"only bounds of it are known"}
    assert undefined["auroc"].isna().all()


def test_calibration_of_both_models_at_tokens_and_words(run):
    table = calibration_table(run)
    assert len(table.frame) == 4 * 4
    row = table.frame.set_index(["step", "model", "unit"]).loc[(0, "student", "token")]
    own = calibration_of(0, 0.3)["student", "token"]
    assert (row["ece"], row["ece.high"], row["n_positions"]) == (own.ece.value, own.ece.high, own.ece.n_positions)
    unknown = table.frame.set_index(["step", "model", "unit"]).loc[(0, "teacher", "word")]
    assert (unknown["n_positions"], unknown["reason"]) == (0, "the server did not list it")
    assert "product of its tokens'" in table.to_text()


def test_a_run_without_readings_gives_empty_tables_and_no_run_is_refused(tmp_path):
    bare = load(write_run(tmp_path / "run"))
    for table in (signal_table(bare), calibration_table(bare)):
        assert table.frame.empty
        assert not table.notes
    with pytest.raises(UserError):
        signal_table(tmp_path)
