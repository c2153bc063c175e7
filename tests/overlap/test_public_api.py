import subprocess
import sys

import overlap


def test_everything_public_is_there():
    assert overlap.__all__ == sorted(
        overlap.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )
    for name in overlap.__all__:
        assert getattr(overlap, name).__doc__


def test_the_library_needs_torch_numpy_and_scipy_alone():
    heavy = "pandas", "transformers", "rich", "accelerate", "matplotlib", "pydantic", "distill", "analysis"
    code = f"import sys; from overlap import *; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
