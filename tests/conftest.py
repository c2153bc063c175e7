"""Where recorded speech and a pretrained recogniser are, for the tests that want them."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def recorded_speech() -> Path:
    """`$RECORDED_SPEECH`: a folder with `models/whisper-tiny.en` and `data/read`. Without it these tests skip.

    Where it is named but not whole they fail, so that nobody takes skipped tests for passed ones.
    """
    named = os.environ.get("RECORDED_SPEECH")
    if not named:
        pytest.skip("$RECORDED_SPEECH names no folder with models/whisper-tiny.en and data/read")
    folder = Path(named).absolute()
    missing = [
        name for name in ("models/whisper-tiny.en/config.json", "data/read/test.jsonl") if not (folder / name).exists()
    ]
    if missing:
        pytest.fail(f"$RECORDED_SPEECH is {folder}, where there is no {' and no '.join(missing)}")
    return folder
