"""Print the page of all fields: ``python -m distill.recipe > distill/recipe/RECIPES.md``."""

import sys

from .reference import page

if __name__ == "__main__":
    sys.stdout.buffer.write(page().encode())
