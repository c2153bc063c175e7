"""Regions of pages that are made from files, so that no number in them is typed by hand.

A region stands between two comments, of which the first names its files and the function that makes it::

    <!-- from: tests/studies/results/staging.csv as schedules -->
    …
    <!-- end from -->
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
REGION = re.compile(
    r"(?P<begin><!-- from: (?P<files>.+?) as (?P<name>[^>]+?) -->\n)(?P<text>.*?)(?P<end><!-- end from -->)", re.DOTALL
)
BEGIN = "<!-- from: "
FOLDERS = ("overlap", "distill", "analysis", "notebooks", "tests")


class PageError(Exception):
    """A region that cannot be made."""


Maker = Callable[..., str]
"""Takes the region's files, in order, and returns Markdown."""


def pages() -> list[Path]:
    """Every Markdown page of the repository."""
    found = [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
    return sorted(page for page in found if not any(part.startswith(".") for part in page.relative_to(ROOT).parts))


def filled(text: str, makers: Mapping[str, Maker], page: str) -> str:
    """The text of a page with its regions made again.

    Raises:
        PageError: A region that is not closed, whose function is not known, or one of whose files is missing.
    """

    def make(region: re.Match[str]) -> str:
        name, files = region["name"], [ROOT / file for file in region["files"].split(", ")]
        if name not in makers:
            raise PageError(f"{page}: nothing is called {name!r}; there are {', '.join(sorted(makers))}")
        if missing := [file for file in files if not file.exists()]:
            raise PageError(f"{page}: {missing[0].relative_to(ROOT)} is not there")
        return f"{region['begin']}{makers[name](*files).strip()}\n{region['end']}"

    if text.count(BEGIN) != len(REGION.findall(text)):
        raise PageError(f"{page}: a region is not closed")
    return REGION.sub(make, text)


def outside(text: str) -> str:
    """What stands outside of regions and of blocks of code."""
    text = REGION.sub("", text)
    return re.sub(r"^ *(`{3,}).*?^ *\1`*\s*$", "", text, flags=re.DOTALL | re.MULTILINE)


def changed(makers: Mapping[str, Maker], files: Sequence[Path]) -> dict[Path, str]:
    """The pages that differ from what their files say, with the text that they should have."""
    found = {}
    for file in files:
        text = file.read_text(encoding="utf-8")
        if BEGIN in text and (new := filled(text, makers, file.relative_to(ROOT).as_posix())) != text:
            found[file] = new
    return found
