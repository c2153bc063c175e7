"""Pictures beside those that were looked at and kept in `baseline`, so that a change to a figure is seen.

They are without text, which every version of the font renderer draws a little differently; what is written is in the
other tests. After a change that is meant, look at the picture that the message names and put it in the place of the
baseline.
"""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from matplotlib.legend import Legend
from matplotlib.testing.compare import compare_images
from matplotlib.text import Text

from analysis import figures
from tests.analysis.figures.test_panels import FIGURES, panels_of

BASELINE = Path(__file__).parent / "baseline"
TOLERANCE = 2.0
"""Root mean square of the difference, of 255. A line that is gone makes more, see below."""
PICTURES = FIGURES | {"dashboard": lambda run, **options: figures.dashboard(run).axes[0]}


def draw(run, name):
    with mpl.rc_context({"font.family": "DejaVu Sans"}):
        panels = panels_of(PICTURES[name](run, width=6.0))
    panels[0].figure.draw_without_rendering()  # so that every tick is there whose label is hidden
    for artist in panels[0].figure.findobj(lambda item: isinstance(item, Text | Legend)):
        artist.set_visible(False)
    return panels


def save(panels, path):
    # The dashboard is a whole page.
    panels[0].figure.savefig(path, dpi=26 if path.stem == "dashboard" else 45, metadata={"Software": None})
    return path


def compare(panels, name, folder):
    actual = save(panels, folder / f"{name}.png")
    expected = BASELINE / f"{name}.png"
    assert expected.exists(), f"look at {actual} and copy it to {expected}"
    return compare_images(str(expected), str(actual), TOLERANCE)


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_as_they_were(full, name, tmp_path):
    problem = compare(draw(full, name), name, tmp_path)
    assert problem is None, f"{problem}\nif this is meant, copy {tmp_path / name}.png to {BASELINE}"


def test_a_line_that_is_gone_is_seen(full, tmp_path):
    panels = draw(full, "position_profile")
    next(line for line in panels[0].lines if line.get_gid() == "after base, step 100").remove()
    assert compare(panels, "position_profile", tmp_path) is not None
    panels = draw(full, "k_sweep")
    panels[0].collections[0].remove()
    assert compare(panels, "k_sweep", tmp_path) is not None


def test_baselines_are_small_and_all_in_use():
    assert {path.stem for path in BASELINE.glob("*.png")} == set(PICTURES)
    assert max(path.stat().st_size for path in BASELINE.glob("*.png")) < 40_000
    assert not plt.get_fignums()
