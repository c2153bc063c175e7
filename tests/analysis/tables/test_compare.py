import math

import pytest

from analysis import compare, load


def test_a_row_a_run_on_its_last_step(straight, fell_back):
    frame = compare({"gate": load(fell_back), "fixed": load(straight)}).frame.set_index("run")
    assert list(frame.index) == ["gate", "fixed"]
    gate = frame.loc["gate"]
    assert (gate["outcome"], gate["step"], gate["n_words"], gate["n_positions"]) == ("finished", 400, 1000, 1211)
    assert gate["switches"] == (("base", 100), ("teacher data", 200), ("on-policy", 250), ("teacher data", 300))
    assert gate["wer"] == pytest.approx(0.3)
    assert gate["wer.high"] == pytest.approx(0.32)
    assert gate["top1_agreement"] == pytest.approx(0.61)
    assert gate["total_variation.low"] == pytest.approx(0.09)
    assert frame.loc["fixed", "switches"] == (("base", 100), ("teacher data", 200))


@pytest.mark.parametrize(("outcome", "reason"), [("stopped", "steps are spent"), ("aborted", "collapse")])
def test_how_a_run_ended(make_run, outcome, reason):
    table = compare({"a": load(make_run([("base", (0, 50), "end")], outcome=outcome, reason=reason))})
    assert table.frame.loc[0, "outcome"] == outcome
    assert f"a: {outcome}: {reason}" in table.to_text()


def test_a_run_that_goes_on(make_run):
    inside = compare({"a": load(make_run([("base", (0, 50)), ("teacher data", (0, 20), "stay")], "in"))})
    assert inside.frame.loc[0, ["outcome", "step", "switches"]].tolist() == ["running", 70, (("base", 50),)]
    between = compare({"a": load(make_run([("base", (0, 50))], "between"))})
    assert between.frame.loc[0, "switches"] == (("base", 50),)
    assert "a: base until step 50, then running" in between.to_text()


def test_a_run_without_readings(straight):
    (straight / "decisions.jsonl").write_text("")
    table = compare({"a": load(straight)})
    assert math.isnan(table.frame.loc[0, "wer"])
    assert "nan" not in table.to_text()


def test_word_and_mixed_error_rates_have_columns_of_their_own(straight, mixed):
    table = compare({"words": load(straight), "mixed": load(mixed)})
    frame = table.frame.set_index("run")
    assert frame.loc["mixed", ["mer", "n_tokens"]].tolist() == frame.loc["words", ["wer", "n_words"]].tolist()
    assert frame.loc["mixed", ["wer", "n_words"]].isna().all()
    heading, _, words, other = table.to_markdown().splitlines()[:4]
    assert "| WER % | MER % | top-1 agreement | total variation | n words | n tokens | n pos. |" in heading
    assert "| 40.0 [38.0, 42.0] | – |" in words
    assert "| 1,000 | – |" in words
    assert "| – | 40.0 [38.0, 42.0] |" in other
    alone = compare({"mixed": load(mixed)}).to_markdown()
    assert "MER %" in alone
    assert "WER %" not in alone


def test_text_and_markdown(straight, fell_back):
    table = compare({"gate": load(fell_back), "fixed": load(straight)})
    assert max(map(len, table.to_text().splitlines())) <= 110
    assert (
        "gate: base until step 100, then teacher data until step 200, then on-policy until step 250" in table.to_text()
    )
    assert (
        "| gate | finished | 400 | base 100, teacher data 200, on-policy 250, teacher data 300 | 30.0 [28.0, 32.0] | "
        "0.610 [0.410, 0.810] | 0.290 [0.090, 0.490] | 1,000 | 1,211 |"
    ) in table.to_markdown()
    assert table._repr_html_().count("<tr>") == 3 + 3  # with the error rates of the teacher and the one recipe


def test_runs_without_names(straight):
    for given in (load(straight), [load(straight)], straight):
        with pytest.raises(ValueError, match=rf"received a {type(given).__name__}; give load_many\(\['runs/0', "):
            compare(given)


def test_nothing_to_compare():
    with pytest.raises(ValueError, match="at least one run"):
        compare({})
