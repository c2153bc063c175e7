"""The script that runs the README's blocks: it finds them all, stops at what fails, and skips nothing on its own."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
specification = importlib.util.spec_from_file_location("readme_blocks", ROOT / ".ci" / "readme.py")
assert specification is not None
assert specification.loader is not None
script = importlib.util.module_from_spec(specification)
sys.modules["readme_blocks"] = script  # where dataclasses look for their module
specification.loader.exec_module(script)


def test_blocks_come_in_order_with_line_language_and_reason():
    text = """# Title

```sh
one
  two
```

- in a list:

  ```python
  if True:
      three
  ```

<!-- not run: needs a server -->

```sh
four
```

```toml
five = 5
```

````python
six = "```"
````
"""
    blocks = script.blocks_of("README.md", text)
    assert [(block.line, block.language, block.source, block.reason) for block in blocks] == [
        (4, "sh", "one\n  two", ""),
        (11, "python", "if True:\n    three", ""),
        (18, "sh", "four", "needs a server"),
        (26, "python", 'six = "```"', ""),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```sh\nopen", "README.md:1: the block is never closed"),
        ("```bash\nls\n```", "README.md:1: bash: call a block that readers run sh or python"),
        ("```py\n1\n```", "README.md:1: py: call a block"),
        ("<!-- not run: why -->\n\ntext\n", "README.md:3: a reason not to run stands above something that is no block"),
        ("<!-- not run: why -->\n```text\nx\n```", "README.md:2: nobody would run a block of text; say no reason"),
        ("<!-- not run: why -->\n", "a reason not to run stands at the end"),
    ],
)
def test_what_is_unclear_is_refused(text, message):
    with pytest.raises(script.ReadmeError, match=message):
        script.blocks_of("README.md", text)


def block(language, source, readme="README.md", reason=""):
    return script.Block(readme, 3, language, source, reason)


@pytest.fixture
def environment(tmp_path):
    """A folder that looks like a virtual environment, with this Python in it."""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to(sys.executable)
    return tmp_path / "venv"


def test_blocks_run_as_printed_with_one_python_session_a_readme(tmp_path, environment, capfd):
    (tmp_path / "here").mkdir()
    blocks = [
        block("python", "value = 6"),
        block("sh", "echo made > made.txt\necho $VIRTUAL_ENV"),
        block("python", "print(value * 7, open('made.txt').read())"),
        block("python", "print('value' in globals())", readme="overlap/README.md"),
        block("sh", "exit 1", reason="needs a display"),
    ]
    script.run(blocks, tmp_path / "here", environment)
    out = capfd.readouterr().out
    assert "42 made" in out
    assert str(environment) in out
    assert "False" in out
    assert "README.md:3: not run: needs a display" in out


@pytest.mark.parametrize(
    ("language", "source"),
    [
        ("sh", "false\necho on"),
        ("sh", "false | true"),
        ("sh", "echo $unset_name"),
        ("python", "1 / 0"),
        ("python", "raise SystemExit(0)"),
        ("python", "import os; os._exit(0)"),
    ],
)
def test_a_block_that_fails_ends_it(language, source, tmp_path, environment, capfd):
    with pytest.raises(script.ReadmeError, match=r"README\.md:3: the block failed"):
        script.run([block(language, source), block("sh", "touch later")], tmp_path, environment)
    assert not (tmp_path / "later").exists()


def test_an_error_in_python_is_shown_with_its_line(tmp_path, environment, capfd):
    with pytest.raises(script.ReadmeError):
        script.run([block("python", "value = 1\nvalue.missing")], tmp_path, environment)
    assert 'File "README.md", line 4' in capfd.readouterr().err


def test_every_readme_is_found_the_first_one_first():
    files = ["distill/demo/README.md", "overlap/README.md", "README.md", "docs/readme.txt", "NOT_README.md"]
    assert script.readmes(files) == ["README.md", "overlap/README.md", "distill/demo/README.md"]


def test_this_checkout_s_blocks_are_clear_and_few_are_not_run():
    files = script.files_of(ROOT)
    assert "README.md" in files
    blocks = [one for name in script.readmes(files) for one in script.blocks_of(name, (ROOT / name).read_text("utf-8"))]
    assert len([one for one in blocks if not one.reason]) >= 6
    assert len([one for one in blocks if one.reason]) <= script.MOST_NOT_RUN


def test_too_many_that_are_not_run_are_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "README.md").write_text("<!-- not run: no -->\n```sh\nls\n```\n" * 7)
    monkeypatch.setattr(script, "__file__", str(tmp_path / ".ci" / "readme.py"))
    monkeypatch.setattr(script, "files_of", lambda checkout: ["README.md"])
    assert script.main([str(tmp_path)]) == 1
    assert "7 blocks are not run, more than 6: README.md:3, " in capsys.readouterr().err


def test_the_script_loads_nothing_heavy():
    assert "torch" not in (ROOT / ".ci" / "readme.py").read_text("utf-8")
