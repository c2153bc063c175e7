"""Print the page of a run directory's files: ``python -m distill.run > distill/run/RUN_DIRECTORY.md``."""

import sys

from .page import page

if __name__ == "__main__":
    sys.stdout.buffer.write(page().encode())
