"""What stands in the key of a figure of several runs: of what is drawn, how much it rests on, and at which k."""

import math

import pandas as pd
import pytest

from analysis import load_many
from analysis.figures import overlap_over_training, wer_against_overlap
from tests.analysis.conftest import resolve


@pytest.fixture
def paths(make_run):
    stays = [("base", (0, 50), "advance"), ("on-policy", (0, 50), "end")]
    return [make_run(stays, name=name) for name in ("one", "two")]


def add_probe(path, statistic, n_positions, n_groups, value):
    """A statistic of every probe of the student's transcripts, over so many positions and utterances."""
    probes = pd.read_parquet(path / "probes/all.parquet")
    rows = probes.loc[(probes["states"] == "student") & (probes["statistic"] == "union_size")]
    rows = rows.assign(statistic=statistic, n_positions=n_positions, n_groups=n_groups, value=value)
    pd.concat([probes, rows], ignore_index=True).to_parquet(path / "probes/all.parquet", index=False)


def key(panels):
    panel = panels if not hasattr(panels, "__len__") else panels[-1]
    legend = panel.get_legend()
    return [text.get_text() for text in legend.get_texts()], legend.get_title().get_text().replace("\n", " ")


def test_counts_are_of_the_statistics_that_are_drawn(paths):
    add_probe(paths[0], "repetition", 40, 37, 1.0)  # of transcripts
    add_probe(paths[0], "student_mass", 7, 3, math.nan)  # undefined: nothing to draw
    labels, _ = key(overlap_over_training(load_many(paths), ("union_size", "student_mass")))
    assert labels[:2] == ["one: 1,200–1,203 / 40", "two: 1,200–1,203 / 40"]
    labels, _ = key(overlap_over_training(load_many(paths), ("repetition",)))
    assert labels[:2] == ["one: 40 / 37", "two: 0 / 0"]


@pytest.mark.parametrize("draw", [overlap_over_training, wer_against_overlap])
def test_k_and_temperature_are_named_once_or_by_run(paths, draw):
    labels, title = key(draw(load_many(paths)))
    assert "k = 32; temperature 1;" in title
    assert labels[0].startswith("one: ")
    resolve(paths[1], support={"k": 4, "temperature": 1.0})
    labels, title = key(draw(load_many(paths)))
    assert labels[0].startswith("one, k = 32: ")
    assert labels[1].startswith("two, k = 4: ")
    assert "k = " not in title
    assert "; temperature 1;" in title
    resolve(paths[1], support={"k": 4, "temperature": 0.5})
    labels, title = key(draw(load_many(paths)))
    assert labels[1].startswith("two, k = 4, temperature 0.5: ")
    assert "temperature" not in title
