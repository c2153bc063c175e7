"""Print the page of definitions: ``python -m overlap.definitions > overlap/STATISTICS.md``."""

import sys

from overlap.definitions.page import page

if __name__ == "__main__":
    sys.stdout.buffer.write(page().encode())
