"""Frames of strata: they add up to the whole, and each is what the whole would be of its positions alone."""

import math
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap import measure
from overlap.definitions import TOKEN_STATISTICS
from overlap.estimates.sequences import sequence_values
from overlap.strata import UNLABELED, Labels, StratumSums, by, position_bins

NAN = math.nan


def statistics(shape=(6, 5), seed=0, mask=None):
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(*shape, 15, generator=generator)
    return measure(student, student + torch.randn(*shape, 15, generator=generator), k=2, mask=mask)


def random_labels(rng, name, shape, n):
    return Labels(name, tuple(f"{name}{i}" for i in range(n)), rng.integers(-1, n, size=shape))


@given(
    seed=st.integers(0, 2**16),
    shape=st.sampled_from([(1, 1), (6, 5), (2, 3, 4), (9,)]),
    n=st.integers(1, 4),
    crossed=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_strata_add_up_to_the_whole(seed, shape, n, crossed):
    rng = np.random.default_rng(seed)
    mask = torch.tensor(rng.random(shape) < 0.8)
    measured = statistics(shape, seed, mask)
    labels = [random_labels(rng, "a", shape, n)]
    if crossed:
        labels.append(random_labels(rng, "b", shape[:1], 3))
    frame = by(measured, labels, draws=2)
    whole = measured.summary(draws=2)
    assert len(frame) == len(TOKEN_STATISTICS) * frame[[one.name for one in labels]].drop_duplicates().shape[0]
    for name, item in whole.items():
        rows = frame[frame["statistic"] == name]
        assert rows["n_positions"].sum() == item.n_positions
        assert rows["n_undefined"].sum() == item.n_undefined
        defined = rows[rows["n_positions"] > 0]
        total = (defined["value"] * defined["n_positions"]).sum()
        if item.n_positions:
            assert total / item.n_positions == pytest.approx(item.value, rel=1e-9, abs=1e-12)
    if crossed:
        single = by(measured, labels[0], draws=2)
        again = frame.groupby(["a", "statistic"], observed=True)["n_positions"].sum()
        assert again.to_dict() == single.set_index(["a", "statistic"])["n_positions"].to_dict()


def test_a_stratum_is_the_summary_of_its_positions():
    mask = torch.rand(6, 5, generator=torch.Generator().manual_seed(1)) < 0.8
    measured = statistics(mask=mask)
    names = ["f", "b", "b", "a", "c", "c"]
    labels = position_bins(torch.ones(6, 5, dtype=torch.bool), edges=(0, 2))
    frame = by(measured, labels, names, states="fixed", seed=3)
    for number, label in enumerate(labels.levels):
        inside = mask & torch.tensor(labels.codes == number)
        alone = statistics(mask=inside).summary(names, seed=3)
        rows = frame[frame["position"] == label].set_index("statistic")
        assert list(rows.index) == list(alone)
        for name, item in alone.items():
            for field in ("value", "standard_error", "low", "high", "n_positions", "n_groups", "n_undefined"):
                assert rows.loc[name, field] == pytest.approx(getattr(item, field), nan_ok=True)
    assert list(frame.columns) == [
        *("position", "statistic", "unit", "value", "standard_error", "low", "high"),
        *("n_positions", "n_groups", "n_undefined", "states"),
    ]
    assert set(frame["states"]) == {"fixed"}
    assert frame.loc[frame["statistic"] == "forward_kl", "unit"].eq("nats").all()


def test_unlabeled_positions_are_a_stratum_and_come_last():
    measured = statistics()
    labels = Labels.from_values("language", ["zh", None, "en", "en", None, NAN])
    frame = by(measured, labels, draws=2)
    assert frame["language"].drop_duplicates().tolist() == ["en", "zh", UNLABELED]
    assert frame["language"].cat.categories.tolist() == ["en", "zh", UNLABELED]
    assert frame["language"].cat.ordered
    counts = frame[frame["statistic"] == "jaccard"].set_index("language")["n_positions"]
    assert counts.to_dict() == {"en": 10, "zh": 5, UNLABELED: 15}
    everything = by(measured, Labels("x", ("never",), np.full((6,), -1)), draws=2)
    assert set(everything["x"]) == {UNLABELED}


def test_any_values_and_a_further_mask():
    values = sequence_values(texts=["a a a a a", "", "b"], n_tokens=[5, 0, 1], finished=[False, True, True])
    frame = by(values, Labels.from_values("language", ["en", "zh", "zh"])).set_index(["language", "statistic"])
    assert frame.loc[("en", "end_of_text"), "value"] == 0.0
    assert frame.loc[("zh", "empty"), "value"] == 0.5
    assert frame.loc[("zh", "repetition"), "n_undefined"] == 1
    measured = statistics()
    first = torch.zeros(6, 5, dtype=torch.bool)
    first[:, 0] = True
    some = by(measured, Labels("x", ("all",), np.zeros(6, int)), mask=first, draws=2)
    assert some["n_positions"].max() == 6
    masked = by(statistics(mask=first), Labels("x", ("all",), np.zeros(6, int)), mask=~first | first, draws=2)
    assert (masked["n_positions"] + masked["n_undefined"]).eq(6).all()
    nothing = by(measured, Labels("x", ("all",), np.zeros(6, int)), mask=torch.zeros(6, 5, dtype=torch.bool))
    assert nothing.empty
    assert list(nothing.columns) == list(some.columns)


def test_batches_add_up():
    measured, names = statistics(), np.array(["f", "b", "b", "a", "c", "c"])
    labels = Labels.from_values("language", ["zh", None, "en", "en", None, "zh"])
    parts = []
    for rows in (slice(4, 6), slice(0, 1), slice(1, 4)):
        part = {name: value[rows] for name, value in measured.values().items()}
        parts.append(StratumSums.from_values(part, Labels("language", labels.levels, labels.codes[rows]), names[rows]))
    pd.testing.assert_frame_equal(StratumSums.merged(parts).frame(), by(measured.values(), labels, names))
    other = StratumSums.from_values(measured, Labels("language", ("en",), np.zeros(6, int)))
    with pytest.raises(ValueError, match=r"strata: expected the labels language: en, zh, received language: en; give"):
        StratumSums.merged([parts[0], other])


def test_labels():
    labels = Labels.from_values("hour", [10, 9, None, 9])
    assert labels.levels == ("9", "10")
    assert labels.codes.tolist() == [1, 0, -1, 0]
    assert Labels.from_values("x", [["b"], ["a"]], levels=["b", "a", "c"]).codes.tolist() == [[0], [1]]
    assert Labels.from_values("x", []).levels == ()
    with pytest.raises(ValueError, match=r"x: 'z' is not among the levels \['a', 'b'\]; add it"):
        Labels.from_values("x", ["a", "z"], levels=["a", "b"])
    with pytest.raises(ValueError, match="x: expected distinct levels other than 'unlabeled'"):
        Labels.from_values("x", ["unlabeled"])
    with pytest.raises(ValueError, match=r"x: expected integer codes, received float64; see Labels.from_values"):
        Labels("x", ("a",), np.zeros(3))
    with pytest.raises(ValueError, match=r"x: expected codes of -1 \(no label\) to 0, received 0 to 1"):
        Labels("x", ("a",), np.array([0, 1]))


def test_refusals():
    measured, labels = statistics(), Labels("x", ("a",), np.zeros(6, int))
    with pytest.raises(ValueError, match=r"x: expected the leading shape \[6, 5\] or its first axes, received \[5\]"):
        by(measured, Labels("x", ("a",), np.zeros(5, int)))
    with pytest.raises(ValueError, match="labels: expected at least one set of labels, with distinct names"):
        by(measured, [])
    with pytest.raises(ValueError, match=r"received \['x', 'x'\]"):
        by(measured, [labels, labels])
    with pytest.raises(ValueError, match=r"received \['value'\]"):
        by(measured, Labels("value", ("a",), np.zeros(6, int)))
    with pytest.raises(ValueError, match="groups: expected the leading shape"):
        by(measured, labels, np.arange(4))
    with pytest.raises(ValueError, match="statistics: expected at least one statistic, received none"):
        by({}, labels)
    with pytest.raises(ValueError, match=r"b: expected shape \[6\] like the rest, received \[5\]"):
        by({"a": np.zeros(6), "b": np.zeros(5)}, labels)
    with pytest.raises(ValueError, match=r"mask: expected a bool mask of shape \[6, 5\], received int64"):
        by(measured, labels, mask=np.zeros((6, 5), int))
    with pytest.raises(ValueError, match="level: expected a coverage between 0 and 1"):
        by(measured, labels, level=95)


def test_without_pandas_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="a frame of strata needs the Python package pandas; install it with"):
        by(statistics(), Labels("x", ("a",), np.zeros(6, int)))
