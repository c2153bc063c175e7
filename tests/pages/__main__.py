"""`python -m tests.pages` fills the regions of all pages from their files; with `--check` it only says which differ."""

import argparse
import subprocess
import sys

from tests.pages.makers import MAKERS
from tests.pages.regions import ROOT, PageError, changed, pages

GENERATED = {"overlap/STATISTICS.md": "overlap.definitions"}
"""Pages that a module prints, from parts that have regions themselves."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if a page differs")
    options = parser.parse_args()
    try:
        found = changed(MAKERS, [page for page in pages() if page.relative_to(ROOT).as_posix() not in GENERATED])
    except PageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for page, text in found.items():
        print(page.relative_to(ROOT), "differs from its files" if options.check else "is filled")
        if not options.check:
            page.write_text(text, encoding="utf-8")
    if options.check:
        return int(bool(found))
    for page, module in GENERATED.items():
        printed = subprocess.run([sys.executable, "-m", module], cwd=ROOT, capture_output=True, check=True).stdout
        (ROOT / page).write_bytes(printed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
