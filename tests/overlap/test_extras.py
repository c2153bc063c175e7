import json
import sys

import pytest

from overlap.extras import MissingExtraError, require


def test_what_is_there_is_imported():
    assert require("json", purpose="this test") is json


@pytest.mark.parametrize(
    ("extra", "command"), [(None, "pip install nowhere"), ("text", "pip install 'support-overlap[text]'")]
)
def test_what_is_missing_is_named_with_the_command(extra, command):
    message = f"this test needs the Python package nowhere; install it with `{command}`"
    with pytest.raises(MissingExtraError) as caught:
        require("nowhere.inside", purpose="this test", extra=extra)
    assert str(caught.value) == message


def test_what_a_library_lacks_itself_is_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "broken_library.py").write_text("import nowhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="nowhere") as caught:
        require("broken_library", purpose="this test")
    assert not isinstance(caught.value, MissingExtraError)
    sys.modules.pop("broken_library", None)
