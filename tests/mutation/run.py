"""Mutation check: plant one small fault at a time in `overlap` and see whether a test notices.

    python tests/mutation/run.py --list                          # the faults, without running anything
    python tests/mutation/run.py --sample 300 --seed 0 --jobs 2  # a random sample of them
    python tests/mutation/run.py --only overlap/estimates/group_sums.py --tests tests/overlap/statistics/test_meter.py  # every fault of a file

On two busy cores the traced run takes five minutes and a fault twelve seconds: a sample of 250 is done in an hour.

The same sample and seed give the same faults as long as the sources are the same. First the suite runs once, traced, to
learn which tests reach which line and how long each takes; a fault then runs the tests that reach its line, shortest
first, until one fails. A fault that only the loading of a module reaches runs all tests. Each runs in a copy of the
tree, in a process forked from one that has loaded torch already, under a limit of time; running out of it counts as
noticed. Exit code 1 if fewer than `--at-least` of the faults are noticed.

What survives is either a hole in the tests or a fault that changes nothing: read it, and write the test or put its line
into `EQUIVALENT` with the reason. Interrupted, the check reports on what it has tried.
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import scipy.stats

sys.path.insert(0, str(Path(__file__).parent))
from mutants import Mutant, mutants
from tracing import Recorder

ROOT = Path(__file__).resolve().parents[2]
CORE = (
    *("core/buffers", "core/checks", "core/chunking", "core/divergence", "core/lm_head", "core/topk*"),
    *("vocab/vocab_pair", "vocab/vocabulary_map"),
    *("estimates/funnel", "estimates/group_sums", "estimates/summary"),
    *("statistics/[!g]*", "losses/union_kl", "gates/*"),
)
COPIED = ("overlap", "tests/overlap", "pyproject.toml", "README.md")
LOADED = ("torch", "numpy", "scipy.stats", "pandas", "hypothesis", "pytest", "jiwer")
LOADED_ALREADY = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
EQUIVALENT = {
    "overlap/losses/union_kl.py: for part in chunking.parts_of(hidden.shape[0], head.vocabulary, chunking.SET_ELEMENTS):": (
        "how many rows at once, no result"
    ),
    "overlap/statistics/meter.py: if len(self._parts) > 1:": "merging one part gives that part",
    "overlap/statistics/meter.py: if sum(len(late.keys) for late in self._parts[1:]) > max(1024, len(self._parts[0].keys)):": (
        "when parts are merged, which is the same at any time"
    ),
    "overlap/core/chunking.py: parts = -(-n // most)": "into how many parts, all rows are in one all the same",
    "overlap/statistics/plan.py: if int(chunk[-1]) - first == n - 1:": "rows are gathered where they could be sliced",
    "overlap/statistics/nucleus.py: width = int(longest.max()) if longest.numel() else 0": "such rows are taken another way",
    "overlap/statistics/nucleus.py: return math.log(self.high / max(self.low, 1e-9 * self.high))": "how the search goes on",
    "overlap/statistics/ranking.py: ordered, order = ids.masked_fill(~valid, -1).sort(dim=-1, stable=True)": (
        "any negative number marks an empty slot"
    ),
    "overlap/statistics/nucleus.py: return self.high * math.exp(-self.width * min(max(share, 0.0), 1.0))": (
        "where the search looks"
    ),
    "overlap/statistics/nucleus.py: step = max(1, mass.numel() // _SAMPLE)": "where the search looks first, not what it finds",
    "overlap/statistics/nucleus.py: for place in (at - margin, at + margin):": "where the search looks, not what it finds",
    "overlap/statistics/nucleus.py: margin = (bracket.above_low[1] - bracket.above_high[1]) / 32": "where the search looks",
    "overlap/statistics/nucleus.py: for reached in (goal + margin, goal - margin):": "where the search looks",
    "overlap/statistics/nucleus.py: if bracket.width > width / 2:": "how the search goes on, not what it finds",
    "overlap/statistics/nucleus.py: share = 0.5": "where the search looks, not what it finds",
    "overlap/core/topk.py: return Support(ids.masked_fill(~valid, 0), valid, tie)": "what an empty slot holds",
    "overlap/estimates/table_formatting.py: return html_table(*self._rows(), left=(0, 2), caption=self._title())": "how a table looks",
    "overlap/vocab/vocabulary_map.py: return torch.where(ids >= 0, table[ids.clamp_min(0)], UNMAPPED)": (
        "what is read at a negative id is thrown away"
    ),
    "overlap/estimates/bootstrap.py: for start in range(0, draws, at_once := "
    "max(1, _DRAWS_AT_ONCE // n)):": "how many resamples at once, no result",
}
"""Lines on which no fault could be noticed by a test of results, and why; they are left out."""


@dataclass
class Suite:
    """What the traced run learned: seconds by test, tests by line, and lines that loading reaches."""

    seconds: dict[str, float]
    reached: dict[str, dict[str, list[str]]] = field(repr=False)

    def tests(self, mutant: Mutant) -> list[str]:
        """The tests that reach a fault, shortest first; none if nothing does."""
        by_line = self.reached.get(mutant.path, {})
        last = mutant.line + mutant.original.count("\n")
        owners = {owner for line in range(mutant.line, last + 1) for owner in by_line.get(str(line), ())}
        if Recorder.LOADING in owners and len(owners) == 1:
            chosen = set(self.seconds)
        else:
            whole_files = {owner for owner in owners if "::" not in owner}  # reached while a fixture was made
            chosen = {test for test in self.seconds if test in owners or test.split("::")[0] in whole_files}
        return sorted(chosen, key=self.seconds.__getitem__)


@dataclass
class Job:
    """One fault being tried in one copy of the tree."""

    mutant: Mutant
    tree: Path
    child: int
    deadline: float


def fork(tree: Path, arguments: list[str], record: bool = False) -> int:
    """Run pytest in a copy of the tree; the child's exit status is pytest's. Returns the child's id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setsid()
        os.chdir(tree)
        sys.path[0] = str(tree)
        os.environ["PYTHONPATH"] = str(tree)
        with (tree / "output.txt").open("w") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            import hypothesis
            import pytest

            checks = list(hypothesis.HealthCheck)
            hypothesis.settings.register_profile("mutation", deadline=None, suppress_health_check=checks, database=None)
            hypothesis.settings.load_profile("mutation")
            recorder = Recorder(tree) if record else None
            plugins = [recorder] if recorder else []
            options = ["-x", "-q", "-p", "no:cacheprovider", "-W", LOADED_ALREADY, "--hypothesis-seed=1", *arguments]
            with recorder or contextlib.nullcontext():
                status = int(pytest.main(options, plugins=plugins))
            if recorder:
                (tree / "trace.json").write_text(json.dumps(recorder.result()))
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def finish(child: int, deadline: float) -> int | None:
    """Exit status of a child, None while it runs, −1 when it ran out of time and was ended."""
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        return os.waitstatus_to_exitcode(status)
    if time.monotonic() < deadline:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


def copy_tree(target: Path) -> Path:
    """The parts of the repository that the tests need."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / name)
    return target


def learn(tree: Path, tests: list[str], limit: float) -> Suite:
    """The traced run; the suite has to pass, or there is nothing to learn."""
    child = fork(tree, tests, record=True)
    deadline = time.monotonic() + limit
    while (status := finish(child, deadline)) is None:
        time.sleep(0.2)
    if status != 0:
        tail = "\n".join((tree / "output.txt").read_text().splitlines()[-30:])
        sys.exit(f"the suite does not pass as it is (exit status {status}):\n{tail}")
    trace = json.loads((tree / "trace.json").read_text())
    return Suite(trace["seconds"], trace["reached"])


def attempt(mutant: Mutant, tree: Path, tests: list[str], suite: Suite) -> Job:
    """Plant a fault and start its tests."""
    file = tree / mutant.path
    file.write_bytes(mutant.planted_in((ROOT / mutant.path).read_bytes()))
    limit = 30 + 10 * sum(suite.seconds[test] for test in tests)
    return Job(mutant, tree, fork(tree, tests), time.monotonic() + limit)


def try_all(chosen: list[Mutant], suite: Suite, trees: list[Path]) -> dict[Mutant, str]:
    """Outcome of every fault: killed, timeout, survived or unreached. An interrupt ends it early."""
    outcomes: dict[Mutant, str] = {}
    waiting, free, running = list(chosen), list(trees), []
    try:
        while waiting or running:
            while waiting and free:
                mutant = waiting.pop(0)
                tests = suite.tests(mutant)
                if tests:
                    running.append(attempt(mutant, free.pop(), tests, suite))
                else:
                    outcomes[mutant] = "unreached"
                    tell(mutant, "unreached", len(outcomes), len(chosen))
            for job in list(running):
                status = finish(job.child, job.deadline)
                if status is None:
                    continue
                outcomes[job.mutant] = {0: "survived", -1: "timeout"}.get(status, "killed")
                shutil.copy(ROOT / job.mutant.path, job.tree / job.mutant.path)
                running.remove(job)
                free.append(job.tree)
                tell(job.mutant, outcomes[job.mutant], len(outcomes), len(chosen))
            time.sleep(0.02)
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):  # the second of two does not take the report away
            signal.signal(number, signal.SIG_IGN)
        for job in running:
            finish(job.child, deadline=0.0)
    return outcomes


def tell(mutant: Mutant, outcome: str, done: int, total: int) -> None:
    """One line for every fault, loud when it was not noticed."""
    print(f"{done:>5}/{total}  {outcome.upper() if outcome in MISSED else outcome:<9}  {mutant.name}", flush=True)


MISSED = ("survived", "unreached")


def report(outcomes: dict[Mutant, str], n_all: int) -> float:
    """Print rates by file and what was missed; returns the share that was noticed."""
    files = sorted({mutant.path for mutant in outcomes})
    print(f"\n{'file':<32}{'noticed':>9}{'n':>6}{'share':>8}   95 % interval (Wilson)")
    for name in [*files, "all"]:
        counts = Counter(kind for mutant, kind in outcomes.items() if name in (mutant.path, "all"))
        n, noticed = counts.total(), counts["killed"] + counts["timeout"]
        interval = scipy.stats.binomtest(noticed, n).proportion_ci(method="wilson")
        print(f"{name:<32}{noticed:>9}{n:>6}{noticed / n:>8.1%}   {interval.low:.1%} to {interval.high:.1%}")
    print(f"{len(outcomes)} of {n_all} faults tried; {list(outcomes.values()).count('timeout')} ran out of time\n")
    missed = [mutant for mutant, kind in outcomes.items() if kind in MISSED]
    for mutant in sorted(missed, key=lambda item: (item.path, item.start)):
        print(f"{outcomes[mutant]}: {mutant.name}")
    return 1 - len(missed) / len(outcomes)


def all_mutants(only: list[str]) -> list[Mutant]:
    """Faults of the core files, or of some; those in `EQUIVALENT` are left out."""
    paths = sorted(str(path.relative_to(ROOT)) for name in CORE for path in (ROOT / "overlap").glob(f"{name}.py"))
    if unknown := [name for name in only if name not in paths]:
        sys.exit(f"--only: {', '.join(unknown)} is not among {', '.join(paths)}")
    found = [item for path in only or paths for item in mutants(path, (ROOT / path).read_bytes())]
    lines = {path: (ROOT / path).read_text().splitlines() for path in {item.path for item in found}}
    return [item for item in found if f"{item.path}: {lines[item.path][item.line - 1].strip()}" not in EQUIVALENT]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the faults and end")
    parser.add_argument("--sample", type=int, help="how many faults, drawn at random; all without it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="faults at once")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="FILE", help="files, such as overlap/statistics/chunk_statistics.py"
    )
    parser.add_argument("--tests", nargs="+", default=["tests/overlap"], help="all of them, or a few files")
    parser.add_argument("--at-least", type=float, default=0.9, help="share to be noticed")
    options = parser.parse_args()
    everything = all_mutants(options.only)
    n = min(options.sample or len(everything), len(everything))
    chosen = random.Random(options.seed).sample(everything, n)
    if options.list:
        print("\n".join(item.name for item in everything), f"\n{len(everything)} faults")
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    for name in LOADED:  # once, here, instead of in every child
        importlib.import_module(name)
    importlib.import_module("torch").set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        trees = [copy_tree(Path(folder) / f"tree{number}") for number in range(options.jobs)]
        start = time.monotonic()
        suite = learn(trees[0], options.tests, limit=1800)
        print(f"{len(suite.seconds)} tests, traced in {time.monotonic() - start:.0f} s; {n} faults to try", flush=True)
        outcomes = try_all(chosen, suite, trees)
    print(f"{time.monotonic() - start:.0f} s in all")
    sys.exit(not outcomes or report(outcomes, len(everything)) < options.at_least)


if __name__ == "__main__":
    main()
