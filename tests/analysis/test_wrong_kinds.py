"""What is not of the kind that a function takes is refused in words, whatever the function."""

import math
import re

import pytest

import analysis
from analysis import inference, load, load_many
from analysis.inference import Side
from analysis.report import verdict, write_report
from analysis.report.headline import headline
from analysis.report.verdict_types import Worsened
from overlap import Estimate
from tests.analysis.report.test_verdict import change, on_policy

WRONG = {
    "a run": lambda run: run,
    "a list of runs": lambda run: [run, run],
    "a path": lambda run: str(run.path) + "/none",
    "a number of runs": lambda run: 2,
}
FUNCTIONS = {
    name: 1 for name in ("corrected", "paired_effect", "evaluated", "gain_correlations", "error_rate", "stage_changes")
}
FUNCTIONS |= {name: 1 for name in ("switch_changes", "stage_gains", "recipe_differences", "mixed_model")}
FUNCTIONS |= {name: 2 for name in ("error_rate_difference", "swap_test", "contrast", "mapsswe", "over_seeds")}
FUNCTIONS |= {name: 2 for name in ("overlap_change", "token_gains", "stage_ends", "last_transcripts")}
FUNCTIONS |= {name: 3 for name in ("gap_recovery", "change_at")}
OTHERS = {
    "advisories": 1,
    "calibration_table": 1,
    "compare": 1,
    "error_rates_by_group": 1,
    "gate_readings": 1,
    "load": 1,
    "load_many": 1,
    "overlap_by_group": 1,
    "signal_table": 1,
    "stage_table": 1,
}


OF_A_RUN = ("evaluated", "gate_readings", "stage_changes", "stage_table", "switch_changes")
OF_A_RUN += ("advisories", "calibration_table", "error_rates_by_group", "overlap_by_group", "signal_table")
RIGHT = {*((name, "a run") for name in OF_A_RUN), ("paired_effect", "a number of runs")}
"""Where the kind is what the function takes."""
CASES = sorted({(name, kind) for name in (*FUNCTIONS, *OTHERS) for kind in WRONG} - RIGHT)


def test_every_function_is_tried():
    functions = {name for name in inference.__all__ if not isinstance(getattr(inference, name), type)}
    assert functions == set(FUNCTIONS)
    assert {name for name in analysis.__all__ if not isinstance(getattr(analysis, name), type)} == set(OTHERS)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_another_kind_is_refused_in_words(name, kind, straight):
    module, number = (inference, FUNCTIONS[name]) if name in FUNCTIONS else (analysis, OTHERS[name])
    given = [WRONG[kind](load(straight))] * number
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        getattr(module, name)(*given)
    said = str(caught.value)
    assert re.search(r"expected|matches|holds no run", said), said
    assert not re.search(r"object|argument must|attribute|iterable|could not convert", said), said


def test_how_to_have_the_right_kind_is_said(straight):
    run = load(straight)
    for call, words in (
        (
            lambda: load_many({"a": None}),
            "paths['a']: expected a string, a path or a list of strings or paths, received",
        ),
        (lambda: load_many({"a": [None]}), "paths['a']: expected a string, a path or a list of strings or paths, rec"),
        (lambda: inference.gain_correlations(run), "gains: expected gains of stages, such as stage_gains(load_many("),
        (lambda: inference.gain_correlations(run.probes), "gains: there is no column 'recipe'; expected gains of"),
        (lambda: inference.corrected(run), "p_values: expected numbers, such as table.frame['p'], received a Run"),
        (lambda: inference.paired_effect(run), "differences: expected numbers, such as after['words.errors'] - "),
        (lambda: inference.evaluated([run, run]), "run: expected one run, received 2; choose one, such as runs[0]"),
        (lambda: inference.over_seeds([run], [1.0]), "such as [Side([[2, 1], [0, 3]])], received a list of Run"),
        (lambda: inference.over_seeds([Side(run)], [1.0]), "sides: expected numbers"),
        (lambda: inference.swap_test([1, 2], [3, 4]), "expected sums and counts [clusters, 2], received [2] and [2]"),
        (lambda: inference.token_gains(run.probes, run.probes), "before: there is no column 'id'"),
        (lambda: load(run), "path: expected a run directory, such as load('runs/0'), received a Run"),
        (lambda: load_many([run]), "paths: expected run directories, such as load_many(['runs/0', 'runs/1']), rec"),
        (lambda: write_report(run, straight / "report.md"), "paths: expected run directories, such as load_many(["),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            call()


def test_bad_news_goes_on_with_and():
    worse = (Worsened("total variation", Estimate(0.2, math.nan, 0.1, 0.3, 1000, 60), 0.002),)
    for ends, joint in (((0.1, 0.2), "and"), ((-0.1, 0.1), "and"), ((-0.3, -0.2), "but")):
        facts = on_policy(change(*ends))
        found = verdict(type(facts)(**{**vars(facts), "worsened": worse}))
        assert found.headline.endswith(f", {joint} worse on recorded rollouts")
        assert headline([found])
