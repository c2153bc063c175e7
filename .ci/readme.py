"""Runs every `sh` and `python` block of the READMEs, in order and as printed, in an environment of their own.

The environment should hold Python and pip alone (or wheels that an installation would otherwise fetch): what a README
forgets to install then fails here as it fails for a stranger. Blocks run in a copy of the checkout: sh in a bash
that stops at the first error, Python in one process a README, as cells of a notebook. A block that cannot run
anywhere carries its reason above its fence::

    <!-- not run: needs a server -->

Usage: python .ci/readme.py ENVIRONMENT
"""

import argparse
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LANGUAGES = ("sh", "python")
UNCLEAR = ("bash", "shell", "console", "zsh", "py", "python3", "pycon", "ipython")
"""Languages that a reader would run and this would not: refused, so that nothing is skipped by its name."""

MOST_NOT_RUN = 6
SECONDS = 1800
"""Longest a Python block may take; one of the shell can be interrupted, and is seen to run."""

FENCE = re.compile(r"(?P<indent> *)(?P<marks>`{3,}|~{3,}) *(?P<language>[\w+-]*)")
REASON = re.compile(r"<!-- not run: (?P<reason>.*\S) -->")


class ReadmeError(Exception):
    """A README whose blocks cannot be told apart, or one of whose blocks failed."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a README.

    Attributes:
        readme: Its file, relative to the checkout.
        line: Number of the first line inside the fence.
        language: `sh` or `python`.
        source: What stands inside.
        reason: Why it is not run; empty where it is.
    """

    readme: str
    line: int
    language: str
    source: str
    reason: str

    @property
    def place(self) -> str:
        """File and line, as editors open them."""
        return f"{self.readme}:{self.line}"


def blocks_of(readme: str, text: str) -> list[Block]:
    """The blocks of a README that a reader would run, in order.

    Raises:
        ReadmeError: A fence that is not closed, a language that is neither, or a reason above nothing that runs.
    """
    found: list[Block] = []
    reason, lines = "", text.splitlines()
    i = 0
    while i < len(lines):
        line = lines[i]
        opening = FENCE.fullmatch(line.rstrip())
        i += 1
        if opening is None:
            marked = REASON.fullmatch(line.strip())
            if reason and line.strip():
                raise ReadmeError(f"{readme}:{i}: a reason not to run stands above something that is no block")
            reason = marked["reason"] if marked else reason
            continue
        first, indent = i, len(opening["indent"])
        while i < len(lines) and lines[i].strip() != opening["marks"]:
            i += 1
        if i == len(lines):
            raise ReadmeError(f"{readme}:{first}: the block is never closed")
        language = opening["language"]
        if language in UNCLEAR:
            raise ReadmeError(f"{readme}:{first}: {language}: call a block that readers run sh or python")
        if language in LANGUAGES:
            source = "\n".join(inner[min(indent, len(inner) - len(inner.lstrip())) :] for inner in lines[first:i])
            found.append(Block(readme, first + 1, language, source, reason))
        elif reason:
            raise ReadmeError(
                f"{readme}:{first}: nobody would run a block of {language or 'no language'}; say no reason"
            )
        reason = ""
        i += 1
    if reason:
        raise ReadmeError(f"{readme}: a reason not to run stands at the end, above no block")
    return found


def files_of(checkout: Path) -> list[str]:
    """What git knows of a checkout, or would take."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (checkout / name).is_file()]


def readmes(files: Iterable[str]) -> list[str]:
    """The README of the whole, then those of its packages."""
    return sorted((name for name in files if Path(name).name == "README.md"), key=lambda name: (name.count("/"), name))


def copy(checkout: Path, files: Iterable[str], target: Path) -> None:
    """Copy files of a checkout, so that what blocks write stays out of it."""
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(checkout / name, target / name)


SESSION = """
import json, os, sys, traceback
answers = os.fdopen(int(sys.argv[1]), "w")
sys.argv, sys.path = [""], [place for place in sys.path if place]
names = {"__name__": "__main__"}
for message in sys.stdin:
    block = json.loads(message)
    try:
        exec(compile("\\n" * (block["line"] - 1) + block["source"], block["readme"], "exec"), names)
        failed = False
    except BaseException:
        traceback.print_exc()
        failed = True
    sys.stdout.flush()
    print(int(failed), file=answers, flush=True)
"""


class Session:
    """A process that runs Python blocks one after the other, with one set of names."""

    def __init__(self, python: Path, folder: Path, environment: dict[str, str]) -> None:
        receive, send = os.pipe()
        command = [python, "-c", SESSION, str(send)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, text=True, cwd=folder, env=environment, pass_fds=[send]
        )
        os.close(send)
        self._answers = os.fdopen(receive)

    def run(self, block: Block) -> bool:
        """Whether the block went through."""
        assert self._process.stdin is not None
        message = {"line": block.line, "source": block.source, "readme": block.readme}
        print(json.dumps(message), file=self._process.stdin, flush=True)
        answered, _, _ = select.select([self._answers], [], [], SECONDS)
        return bool(answered) and self._answers.readline().strip() == "0"

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()


def run(blocks: Iterable[Block], folder: Path, environment: Path) -> None:
    """Run blocks in a folder with the programs of an environment; prints each with its seconds.

    Raises:
        ReadmeError: One failed; nothing after it is run.
    """
    binaries = environment.absolute() / "bin"
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    variables |= {"PATH": f"{binaries}{os.pathsep}{variables.get('PATH', '')}", "VIRTUAL_ENV": str(binaries.parent)}
    sessions: dict[str, Session] = {}
    try:
        for block in blocks:
            if block.reason:
                print(f"{block.place}: not run: {block.reason}", flush=True)
                continue
            print(f"{block.place}: {block.language}\n{block.source}", flush=True)
            began = time.monotonic()
            if block.language == "sh":
                command = ["bash", "-euo", "pipefail", "-c", block.source]
                passed = subprocess.run(command, cwd=folder, env=variables, check=False).returncode == 0
            else:
                if block.readme not in sessions:
                    sessions[block.readme] = Session(binaries / "python", folder, variables)
                passed = sessions[block.readme].run(block)
            if not passed:
                raise ReadmeError(f"{block.place}: the block failed")
            print(f"{block.place}: {time.monotonic() - began:.0f} s", flush=True)
    finally:
        for session in sessions.values():
            session.close()


def main(arguments: list[str] | None = None) -> int:
    """Check and run all READMEs of this checkout; 0 where every block went through."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("environment", type=Path, help="virtual environment, with Python and pip")
    options = parser.parse_args(arguments)
    checkout = Path(__file__).resolve().parents[1]
    try:
        files = files_of(checkout)
        blocks = [block for name in readmes(files) for block in blocks_of(name, (checkout / name).read_text("utf-8"))]
        skipped = [block for block in blocks if block.reason]
        if len(skipped) > MOST_NOT_RUN:
            places = ", ".join(block.place for block in skipped)
            raise ReadmeError(f"{len(skipped)} blocks are not run, more than {MOST_NOT_RUN}: {places}")
        with tempfile.TemporaryDirectory() as folder:
            copy(checkout, files, Path(folder))
            run(blocks, Path(folder), options.environment)
    except ReadmeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(blocks) - len(skipped)} blocks ran, {len(skipped)} did not:")
    for block in skipped:
        print(f"  {block.place}: {block.reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
