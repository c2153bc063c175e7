import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from overlap.files import replacing


@pytest.mark.parametrize("sync", [True, False])
def test_a_file_is_replaced_whole(tmp_path, sync):
    path = tmp_path / "x.json"
    for text in ("first", "second"):
        with replacing(path, sync=sync) as temporary:
            temporary.write_text(text)
            assert temporary.parent == tmp_path
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "x"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise error

    with pytest.raises(error), replacing(path) as temporary:
        fail(temporary)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    with replacing(tmp_path / "made") as temporary:
        temporary.write_text("")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "made")}
    assert len(modes) == 1


def test_threads_may_write_one_file_and_names_may_be_long(tmp_path):
    path = tmp_path / ("ü" * 120)

    def write(number: int) -> None:
        with replacing(path, sync=False) as temporary:
            temporary.write_text(str(number) * 10_000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(9)))
    assert len(set(path.read_text())) == 1
    assert os.listdir(tmp_path) == [path.name]  # noqa: PTH208
