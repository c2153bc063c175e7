"""One version, that of the distribution, whatever asks for it."""

import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import analysis
import distill
import overlap
from distill.cli import main

TREE = Path(overlap.__file__).parents[1]
STATED = tomllib.loads((TREE / "pyproject.toml").read_text("utf-8"))["project"]["version"]


def test_the_packages_and_the_command_say_the_distribution_s_version(capsys):
    assert overlap.__version__ == distill.__version__ == analysis.__version__ == STATED
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == STATED


def version_of(folder: Path) -> subprocess.CompletedProcess[str]:
    """What a process says that finds `overlap` in a folder before anywhere else."""
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); import overlap; print(overlap.__file__, overlap.__version__)"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=False)


@pytest.fixture
def copy(tmp_path):
    """The package without the checkout around it, as an installation has it."""
    shutil.copytree(TREE / "overlap", tmp_path / "overlap", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_an_installation_says_what_its_metadata_say(copy):
    info = copy / "support_overlap-4.5.6.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: support-overlap\nVersion: 4.5.6\n")
    done = version_of(copy)
    assert done.stdout.split() == [str(copy / "overlap" / "__init__.py"), "4.5.6"], done.stderr


def test_a_checkout_says_its_own_version_and_not_that_of_an_older_installation(copy):
    (copy / "pyproject.toml").write_text('[project]\nname = "support-overlap"\nversion = "7.8.9"\n')
    assert version_of(copy).stdout.split()[1] == "7.8.9"


def test_another_project_around_it_is_not_asked(copy):
    (copy / "pyproject.toml").write_text('[project]\nname = "theirs"\nversion = "7.8.9"\n')
    assert version_of(copy).stdout.split()[1] == metadata.version("support-overlap")
