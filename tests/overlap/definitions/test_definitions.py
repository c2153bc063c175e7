"""What the definitions say is what the code does: ranges, where a value is undefined, names, and the printed page."""

import math
import pkgutil
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import overlap
from overlap import VocabularyMap, measure
from overlap.definitions import (
    CHECKPOINT_STATISTICS,
    PROBE_STATISTICS,
    SEQUENCE_STATISTICS,
    TOKEN_STATISTICS,
    Ranges,
    label_of,
    unit_of,
)
from overlap.definitions.forms import FORMS
from overlap.definitions.page import page
from overlap.estimates.funnel import BINS
from overlap.estimates.sequences import sequence_values
from overlap.statistics.repeats import N
from overlap.weights import RULES
from overlap.weights.panel import KEPT_FROM
from overlap.weights.rules import IW_GAMMA, PRUNE_DECREMENT, PRUNE_THRESHOLD, SEAD_CERTAIN, SELECTKD_REJECTED, TIP_KEEP

ALL = TOKEN_STATISTICS | SEQUENCE_STATISTICS | PROBE_STATISTICS | CHECKPOINT_STATISTICS
K, V = 3, 9


def bounds(text):
    """Lowest, highest and, if there are but two, the only values of a range."""
    numbers = {"k": K, "2k": 2 * K, "V": V, "ln V": math.log(V), "ln 2": math.log(2), "∞": math.inf, "−∞": -math.inf}
    ends = [numbers[end] if end in numbers else float(end) for end in re.split(" … | or ", text)]
    assert len(ends) == 2
    return ends[0], ends[1], " or " in text


@cache
def measured():
    """Statistics of ordinary, peaked, tied and identical pairs, with and without a map, blocked ids and tokens."""
    found, generator = [], torch.Generator().manual_seed(0)
    for scale in (0.0, 1.0, 30.0):
        student, teacher = scale * torch.randn(2, 4, 25, V, generator=generator)
        tokens = torch.randint(-1, V, (4, 25), generator=generator)
        few = VocabularyMap.from_pairs([(0, 3), (5, 1), (6, 6)], student_size=V, teacher_size=V)
        none = VocabularyMap.from_pairs([], student_size=V, teacher_size=V)
        for options in ({}, {"blocked": [0, 4]}, {"vocabulary": few}, {"vocabulary": none}, {"temperature": 3.0}):
            found.append(measure(student, teacher, k=K, tokens=tokens, **options).values())
            found.append(measure(student, student, k=K, **options).values())
    return found


@pytest.mark.parametrize("name", TOKEN_STATISTICS)
def test_values_keep_to_the_range_and_are_defined_where_promised(name):
    low, high, only = bounds(TOKEN_STATISTICS[name].range)
    undefined = 0
    for statistics in measured():
        values = statistics[name].double()
        undefined += int(values.isnan().sum())
        values = values[~values.isnan()]
        assert ((values >= low) & (values <= high * (1 + 1e-6))).all()
        if only:
            assert set(values.tolist()) <= {low, high}
    assert (undefined == 0) == (TOKEN_STATISTICS[name].undefined == "never")


def test_sequence_values_keep_to_the_range_and_are_defined_where_promised():
    values = sequence_values(
        texts=["", "one", "a " * 400, "语音"],
        n_tokens=[0, 1, 400, 2],
        finished=[True, True, False, True],
        references=[None, "two", "a", ""],
        seconds=[1.0, 0.0, 2.0, 3.0],
        recut=[math.nan, 0.0, 1.0, 0.5],
    )
    assert set(values) | {"stop_density"} == set(SEQUENCE_STATISTICS)  # a ratio of sums, not one number each
    for name, column in values.items():
        low, high, only = bounds(SEQUENCE_STATISTICS[name].range)
        known = column[~np.isnan(column)]
        assert ((known >= low) & (known <= high)).all()
        assert not only or set(known) <= {low, high}
        assert (len(known) == len(column)) == (SEQUENCE_STATISTICS[name].undefined == "never")


@pytest.mark.parametrize("name", ALL)
def test_every_definition_is_whole(name):
    definition = ALL[name]
    for field in ("unit", "formula", "range", "undefined", "source", "reading"):
        assert getattr(definition, field).strip()
    assert definition.reading.endswith(".")
    low, high, _ = bounds(definition.range)
    fixed = [not re.search("[kV]", end) for end in re.split(" … | or ", definition.range)]
    assert Ranges().limits(name) == (low if fixed[0] else -math.inf, high if fixed[1] else math.inf)
    assert Ranges(K, V).limits(name) == (low, high)
    assert not set(re.findall(r"`(\w+)`", definition.reading)) - set(ALL)


def test_units_and_labels():
    assert unit_of("union_size") == "tokens"
    assert unit_of("fixed_context_gain") == "of the divergence"
    assert unit_of("mine") == ""
    assert label_of("union_size") == "union_size (VUSS)"
    assert label_of("jaccard") == "jaccard"
    assert label_of("mine") == "mine"
    assert Ranges(7, 50).limits("mine") == (-math.inf, math.inf)


def test_page_shows_every_definition_and_names_only_what_there_is():
    text = page()
    for name, definition in ALL.items():
        assert f"### {label_of(name)}\n" in text
        assert f"- Formula: `{definition.formula}`\n" in text
        assert f"- Reading: {definition.reading}\n" in text
    prose = text.split("## Statistics of one position")[0]
    states = {"student", "teacher", "reference", "fixed"}
    assert (
        not set(re.findall(r"`([a-z_0-9]+)`", prose))
        - set(ALL)
        - set(BINS)
        - states
        - set(RULES)
        - {"n_undefined", "used_unfinished"}
    )
    for dotted in re.findall(r"`(overlap(?:\.\w+)+)`", text):
        assert pkgutil.resolve_name(dotted)


def test_kept_page_is_current():
    kept = Path(overlap.__file__).with_name("STATISTICS.md").read_text("utf-8")
    assert kept == page(), "run `python -m overlap.definitions > overlap/STATISTICS.md`"


def test_module_prints_the_page():
    command = [sys.executable, "-W", "error", "-m", "overlap.definitions"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout.decode() == page()
    assert not done.stderr


def test_the_page_explains_every_form_and_every_rule_with_the_numbers_in_use():
    text = page()
    forms, rules = (text[text.index(f"## {title}") :].split("\n## ")[0] for title in ("Forms", "Which positions"))
    assert all(f"- `.{form}`:" in forms for form in FORMS)
    assert f"every sequence of {N} tokens" in forms
    assert f"The {N} is\n`overlap.statistics.repeats.N`" in forms
    assert all(f"| `{name}` |" in rules for name in RULES)
    assert f"d = {PRUNE_DECREMENT}, τ = {PRUNE_THRESHOLD}" in rules
    assert f"else {SELECTKD_REJECTED}" in rules
    assert f"γ = {IW_GAMMA}" in rules
    assert f"below {SEAD_CERTAIN} nats" in rules
    assert (KEPT_FROM, TIP_KEEP) == (0.5, 0.5)  # in words there
