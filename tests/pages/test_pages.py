"""Pages are short where they should be, their links lead somewhere, and their numbers are those of the files."""

import re
from pathlib import Path

import pytest

from tests.pages.makers import MAKERS
from tests.pages.regions import BEGIN, FOLDERS, REGION, ROOT, PageError, changed, filled, outside, pages

NAMES = [page.relative_to(ROOT).as_posix() for page in pages()]
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
MEASURED = re.compile(
    r"(?<![\d.])(?!95 ?%)\d+(?:\.\d+)? ?%|\[[−-]?\d+(?:\.\d+)?, [−-]?\d+(?:\.\d+)?\]|\d ×|\d\.\d+ points"
    r"|\d (?:minutes|GB)\b"
)
"""What a result looks like: a percentage (but for 95 %, the level of intervals), an interval, a ratio, points, time or
memory."""
PRINTED = ("distill/demo/corpus/README.md", "distill/recipe/RECIPES.md", "overlap/STATISTICS.md")
"""Printed by modules that other tests hold to their files."""


def words(text: str) -> int:
    """Words outside of blocks of code and comments."""
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    return len(re.sub(r"^ *(`{3,}).*?^ *\1`*\s*$", "", text, flags=re.DOTALL | re.MULTILINE).split())


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def slug(heading: str) -> str:
    """A heading's name in a link, as on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_pages_say_what_their_files_say():
    found = [page.relative_to(ROOT).as_posix() for page in changed(MAKERS, pages())]
    assert not found, f"{', '.join(found)}: run `python -m tests.pages`"


def test_every_maker_is_used():
    used = {region["name"] for name in NAMES for region in REGION.finditer(read(name))}
    assert used == set(MAKERS)


def test_a_number_that_differs_from_its_file_is_seen(tmp_path):
    text = read("tests/README.md")
    region = next(one for one in REGION.finditer(text) if one["name"] == "schedules")
    digit = re.search(r"\d+\.\d", region["text"])
    assert digit is not None
    at = region.start("text") + digit.start()
    typed = text[:at] + "99.9" + text[at + len(digit.group()) :]
    assert filled(typed, MAKERS, "page") == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- from: README.md as nothing -->\n<!-- end from -->", "page: nothing is called 'nothing'"),
        ("<!-- from: missing.csv as schedules -->\n<!-- end from -->", "page: missing.csv is not there"),
        ("<!-- from: README.md as schedules -->\n", "page: a region is not closed"),
    ],
)
def test_regions_that_cannot_be_made_are_refused(text, message):
    with pytest.raises(PageError, match=re.escape(message)):
        filled(text, MAKERS, "page")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in PRINTED])
def test_no_result_is_typed_by_hand(name):
    for line in outside(read(name)).splitlines():
        if "arXiv" not in line:  # a number from a paper stands beside its source
            assert not MEASURED.search(re.sub(r"`[^`]*`", "", line)), f"{name}: {line}"


def test_the_first_page_is_short():
    assert 600 <= words(read("README.md")) <= 900


@pytest.mark.parametrize("package", FOLDERS)
def test_every_package_has_a_page_that_the_first_one_links(package):
    assert (ROOT / package / "README.md").is_file()
    assert f"({package}/README.md" in read("README.md")


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    page = ROOT / name
    for link in LINK.finditer(outside(read(name)) + "".join(region["text"] for region in REGION.finditer(read(name)))):
        target, _, heading = link["target"].partition("#")
        if "://" in target:
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{name}: {link['target']}"
        if heading and path.suffix == ".md":
            headings = {
                slug(line.lstrip("# ")) for line in path.read_text("utf-8").splitlines() if line.startswith("#")
            }
            assert heading in headings, f"{name}: {link['target']}"


def glossary() -> dict[str, str]:
    section = read("overlap/README.md").split("## Glossary")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ", 1) for line in section.splitlines() if line.startswith("| ")]
    return {term.strip(): meaning for term, meaning in rows[1:]}


def test_the_glossary_is_short_and_names_a_term_once():
    terms = [term for terms in glossary() for term in terms.split(", ")]
    assert 15 <= len(glossary()) <= 30
    assert len(terms) == len(set(terms))


@pytest.mark.parametrize("term", ["support", "position", "rollout", "states"])
def test_the_first_page_defines_its_terms_where_it_first_uses_them(term):
    found = re.search(rf"\*?\b{term}s?\b\*?", read("README.md").split("\n", 1)[1])
    assert found is not None
    assert found.group().startswith("*"), f"{term} is used before it is defined"


def test_contributing_names_six_files_that_exist():
    listed = re.findall(r"^\d\. `([^`]+)`", read("CONTRIBUTING.md"), flags=re.MULTILINE)
    assert len(listed) == 6
    assert all((ROOT / file).is_file() for file in listed)
    for path in re.findall(r"`((?:overlap|distill|analysis|tests)/[\w/.]+)`", read("CONTRIBUTING.md")):
        assert (ROOT / path).exists(), path


def test_pictures_of_the_figures_are_small_and_all_in_use():
    folder = ROOT / "notebooks" / "figures"
    shown = {
        Path(link["target"]).name
        for name in NAMES
        for link in LINK.finditer(read(name))
        if "figures/" in link["target"]
    }
    assert {path.name for path in folder.glob("*.png")} == shown
    assert all(path.stat().st_size < 150_000 for path in folder.glob("*.png"))


def test_regions_begin_as_the_search_expects():
    assert sum(read(name).count(BEGIN) for name in NAMES) == sum(len(REGION.findall(read(name))) for name in NAMES)
