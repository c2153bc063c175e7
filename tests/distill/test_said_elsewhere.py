"""What pages and recipes say of the code is what the code says: versions of normalizers, error rates, levels."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from distill.demo.error_rates import written
from distill.drafting import draft_recipe
from distill.normalize import normalizer
from distill.recipe import load_recipe
from overlap import Estimate
from overlap.estimates.first_reading import first_reading

ROOT = Path(__file__).parents[2]
FOLDERS = ("overlap", "distill", "analysis", "notebooks", "tests")
MARKDOWN = [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
PAGES = sorted([*MARKDOWN, *(ROOT / "notebooks").glob("*.ipynb")])
VERSION = re.compile(r"normali[sz]er `?(\w+)`? (\d+)\b")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_normalizers_have_the_version_that_pages_name(page):
    for name, version in VERSION.findall(page.read_text("utf-8")):
        assert normalizer(name).version.split()[0] == version, name


def test_readmes_name_normalizers_with_their_versions():
    assert len(VERSION.findall((ROOT / "distill" / "README.md").read_text("utf-8"))) >= 2


def percent(rate: Estimate) -> str:
    return f"{100 * rate.value:.1f} % [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"


def test_readme_has_the_teachers_error_rates():
    text, found = (ROOT / "distill" / "README.md").read_text("utf-8").replace("−", "-"), written()
    assert f"{percent(found.test)} ({round(found.test.value * found.words[1])}/{found.words[1]} words" in text
    assert f"{percent(found.pool)} on the pool" in text
    assert f"not significant ({percent(found.difference).replace(' %', ' points')}" in text


def level(recipe: dict) -> float:
    (gate,) = (stage["gate"] for stage in recipe["stages"] if stage["type"] == "td")
    found = {name: value for name, value in thresholds(gate) if name.startswith("top1_agreement")}
    assert list(found) == ["top1_agreement.without_repeats"]
    return found["top1_agreement.without_repeats"]


def thresholds(gate: dict) -> Iterator[tuple[str, float]]:
    """Statistics and levels of a gate and of its members."""
    if "at_least" in gate:
        yield gate["statistic"], gate["at_least"]
    for member in (*gate.get("gates", ()), *gate.get("conditions", ()), *([gate["then"]] if "then" in gate else ())):
        yield from thresholds(member)


def wanted() -> float:
    """Least agreement that `distill probe` calls in order."""
    numbers = first_reading({"top1_agreement": Estimate(0.5, 0.1, 0.4, 0.6, 100, 10, 0)}, None, 8).numbers
    return float(next(n.wanted for n in numbers if n.statistic == "top1_agreement").removeprefix("≥ "))


@pytest.mark.filterwarnings("ignore::distill.drafting.SmallProbeWarning")
def test_one_level_of_agreement_for_the_switch(tmp_path):
    clip = {"audio": "a.wav", "end_time": 1.0, "text": "call four"}
    (tmp_path / "a.wav").write_bytes(b"")  # only the manifest says how long it is
    (tmp_path / "m.jsonl").write_text("".join(json.dumps({"id": str(i)} | clip) + "\n" for i in range(3)))
    manifest = str(tmp_path / "m.jsonl")
    drafted = tomllib.loads(draft_recipe("demo:student", "demo:teacher", manifest, manifest))
    assert level(drafted) == wanted()
    for name in ("demo", "demo_matched"):
        assert level(load_recipe(name).model_dump()) == wanted()
    page = (ROOT / "overlap" / "STATISTICS.md").read_text("utf-8")
    assert f"agreement above {wanted():g}," in page
    assert f"switch above {wanted():g}." in page
