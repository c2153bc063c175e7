"""An output replaces a plain file or nothing: never a device or a pipe."""

import os
import stat

import pytest

from distill.locations import require_writable
from overlap.errors import UserError


def test_a_pipe_is_refused_and_stays(tmp_path):
    pipe = tmp_path / "a pipe"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match=r"--output: .*a pipe is a device or a pipe, which a file would replace"):
        require_writable(pipe, "--output")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_refused():
    with pytest.raises(UserError, match="give a plain file"):
        require_writable("/dev/null", "--output")
