"""No string stands on its own line without effect, such as the second half of a text whose parentheses are missing.

Ruff's B018 passes strings over. Allowed are docstrings: of a module, class or function, and in three quotes below an
assignment of a module or class.
"""

import ast
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for folder in ("overlap", "distill", "analysis", "notebooks", "tests", ".ci")
    for path in ROOT.glob(f"{folder}/**/*.py")
)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def stray_strings(source):
    """Lines of strings that are neither used nor docstrings."""
    for parent in ast.walk(ast.parse(source)):
        for part in ("body", "orelse", "finalbody"):
            body = getattr(parent, part, None)
            for i, line in enumerate(body if isinstance(body, list) else []):
                if not isinstance(line, ast.Expr) or not is_text(line.value):
                    continue
                if i == 0 and part == "body" and isinstance(parent, DOCUMENTED):
                    continue
                follows = isinstance(parent, ast.Module | ast.ClassDef) and isinstance(
                    body[i - 1], ast.Assign | ast.AnnAssign
                )
                if not (follows and ast.get_source_segment(source, line).lstrip("r").startswith('"""')):
                    yield line.lineno


def is_text(value):
    return isinstance(value, ast.JoinedStr) or (
        isinstance(value, ast.Constant) and isinstance(value.value, str | bytes)
    )


@pytest.mark.parametrize("folder", sorted({path.relative_to(ROOT).parts[0] for path in FILES}))
def test_no_string_stands_alone(folder):
    for path in FILES:
        if path.is_relative_to(ROOT / folder):
            assert not list(stray_strings(path.read_text(encoding="utf-8"))), path


def test_halves_of_texts_are_found():
    cut = '''
        """Docstring."""
        LEVEL = "levels off "
        "above"
        NAME = 1
        """What it is."""
        class Row:
            """Docstring."""
            n: int
            r"""How many."""
        def evidence(n):
            """Docstring."""
            text = f"{n} seeds and "
            f"{n} more"
            try:
                return text
            finally:
                """Not a docstring."""
    '''
    assert sorted(stray_strings(textwrap.dedent(cut))) == [4, 14, 18]
