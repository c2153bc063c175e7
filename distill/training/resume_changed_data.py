"""Data of a resumed run: whether it changed, and which lines."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from overlap.plain_json import dumps

from ..data.hf.reference import is_dataset
from ..data.line_findings import Finding, errors
from ..recipe import Recipe
from ..run.provenance import CHANGES, dropped_lines, list_findings, read_findings, resolved_configuration
from ..run.run_directory import RunDirectory, write_atomically
from .errors import TrainingError
from .probes_and_evaluations import FIXED
from .reset_measurements import reset_checkpoints
from .resume_moved_data import Request, data_paths

LINES = "data_lines"
"""Folder of a run directory with a digest of each manifest line, in files named after the manifest's own digest."""

_SET_ASIDE = re.compile(r"\.before-step-\d+$")
_SHOWN = 10
_DIGITS = 12
_MOST_COMPARED = 4_000_000
"""Most pairs of lines to compare, which takes seconds."""


@dataclass(frozen=True)
class Change:
    """A manifest, data set or folder of noise that changed.

    Attributes:
        key: Of the recipe.
        source: Its path or name.
        was: Its digest when the run began, or when a change was last accepted.
        now: Its digest.
        lines: Description of the changed lines.
    """

    key: str
    source: str
    was: str
    now: str
    lines: str


def changes(run: RunDirectory, began: Recipe, recipe: Recipe) -> list[Change]:
    """Return data that changed.

    Args:
        run: The run.
        began: Its recipe as the run has it.
        recipe: The same with data where it is now.
    """
    then, now = run.resolved, resolved_configuration(recipe)
    digests = [{**tree["manifest_sha256"], **tree.get("background_sha256", {})} for tree in (then, now)]
    old_places, found = data_paths(began), []
    for key, place in data_paths(recipe).items():
        was = digests[0].get(old_places[key])
        if was is not None and was != digests[1][place]:
            found.append(Change(key, place, was, digests[1][place], _compared(run.path, was, place)))
    return found


def changed_dropped_lines(
    run: RunDirectory, began: Recipe, recipe: Recipe, findings: Sequence[Finding], known: Sequence[Change]
) -> list[Change]:
    """Return unchanged manifests of which other lines are dropped than before, for instance because audio was added or
    lost.

    Args:
        run: The run, with its list of dropped lines.
        began: Its recipe as the run has it.
        recipe: The same with data where it is now.
        findings: What is wrong with the data now.
        known: Manifests that changed themselves, which are not reported again.
    """
    then, now = _dropped_lines(read_findings(run.path)), _dropped_lines(findings)
    digests, old_places = resolved_configuration(recipe)["manifest_sha256"], data_paths(began)
    changed, found = {one.source for one in known}, []
    for key, place in data_paths(recipe).items():
        before, after = then.get(old_places[key], {}), now.get(place, {})
        said = [
            f"{_of_all(lines)} {what}"
            for lines, what in (
                ([line for line in after if line not in before], "can no longer be used"),
                ([line for line in before if line not in after], "can be used now"),
            )
            if lines
        ]
        reason = next((f" ({why})" for line, why in after.items() if line not in before), "")
        if said and place not in changed:
            found.append(Change(key, place, digests[place], digests[place], f"{', '.join(said)}{reason}"))
    return found


def _dropped_lines(findings: Iterable[Finding]) -> dict[str, dict[int | None, str]]:
    """Return the first reason for each dropped line, by file."""
    found: dict[str, dict[int | None, str]] = {}
    for one in errors(findings):
        found.setdefault(one.file, {}).setdefault(one.line, str(one.problem))
    return found


def _of_all(lines: Sequence[int | None]) -> str:
    numbers = sorted(line for line in lines if line is not None)
    return _numbers(numbers) if numbers else "all of it"


def refusal(request: Request, found: Sequence[Change]) -> TrainingError:
    """Return why a run is not continued with changed data.

    Args:
        request: The call that continues it.
        found: What changed.
    """
    what = "\n  ".join(f"{one.source} ({one.key}) changed since the run began: {one.lines}" for one in found)
    return TrainingError(
        f"cannot resume {request.run}:\n  {what}\nrestore the data, start a new run, or continue with the data as it "
        f"is now, which the run then records: {request.command(accept_changed_data=True)}"
    )


def keep_lines(run: Path, sources: Iterable[str]) -> None:
    """Write a digest of each manifest line into a run directory, so that changed lines can be named later."""
    folder = run / LINES
    folder.mkdir(exist_ok=True)
    for source in sources:
        if not is_dataset(source) and Path(source).is_file():
            content = Path(source).read_bytes()
            name = hashlib.sha256(content).hexdigest()
            write_atomically(folder / f"{name}.txt", "".join(f"{digest}\n" for digest in _digests(content)))


def record(
    run: RunDirectory,
    recipe: Recipe,
    found: Sequence[Change],
    findings: Sequence[Finding],
    *,
    step: int,
    stage: int,
) -> None:
    """Accept the changed data, and set aside results of the old data.

    Teacher transcripts of the current and later stages, recorded rollouts of a probe set, and the best weights on an
    evaluation set are kept under other names; gates that read such a set are reset. All of this is done first, so that
    a run that is killed in between finds the change again.

    Args:
        run: The run.
        recipe: With data where it is now.
        found: What changed; empty where data only moved.
        findings: What is wrong with the data now.
        step: Training steps taken.
        stage: The current stage.
    """
    keys = {one.key for one in found}
    stale = [
        path
        for i, section in enumerate(recipe.stages)
        if i >= stage and f"stages.{i}.manifest" in keys
        for path in run.path.glob(f"teacher-transcripts-{section.name}.*")
        if not _SET_ASIDE.search(path.name)
    ]
    stale += [run.path / FIXED] if "probe.manifest" in keys and (run.path / FIXED).exists() else []
    for path in stale:
        path.rename(path.with_name(f"{path.name}.before-step-{step}"))
    reset_checkpoints(run.path, recipe, keys, step=step)
    rows = [dumps({"step": step, **asdict(one)}) + "\n" for one in found]
    if rows:
        with (run.path / CHANGES).open("a", encoding="utf-8") as file:
            file.writelines(rows)
    now = resolved_configuration(recipe)
    kept = {name: now[name] for name in ("recipe", "manifest_sha256", "background_sha256", "datasets")}
    resolved = {name: value for name, value in run.resolved.items() if name != "unusable_lines"}
    text = dumps(resolved | kept | dropped_lines(findings), indent=2) + "\n"
    write_atomically(run.path / "resolved.json", text)
    list_findings(run.path, findings)
    keep_lines(run.path, now["manifest_sha256"])


def _digests(content: bytes) -> list[str]:
    return [hashlib.sha256(line).hexdigest()[:_DIGITS] for line in content.splitlines()]


def _compared(run: Path, was: str, source: str) -> str:
    """Return which lines of a manifest changed, in words."""
    before = run / LINES / f"{was}.txt"
    if is_dataset(source) or not before.is_file() or not Path(source).is_file():
        return "the changed part is not known"
    return changed_lines(before.read_text().split(), _digests(Path(source).read_bytes()))


def changed_lines(before: Sequence[str], after: Sequence[str]) -> str:
    """Return which lines differ, in words; removed lines have their old numbers.

    Examples:
        >>> changed_lines(["a", "b", "c"], ["a", "x", "c"]), changed_lines(["a", "b"], ["a", "n", "m", "b"])
        ('line 2 changed', 'lines 2–3 are new')
        >>> changed_lines(["a", "b", "c"], ["a"])
        'lines 2–3 were removed'
    """
    if len(before) == len(after):
        others = [i for i, (one, other) in enumerate(zip(before, after, strict=True), 1) if one != other]
        return f"{_numbers(others)} changed" if others else "white space between lines changed"
    shorter = min(len(before), len(after))
    start = next((i for i in range(shorter) if before[i] != after[i]), shorter)
    if (len(before) - start) * (len(after) - start) > _MOST_COMPARED:
        return f"{len(before)} lines became {len(after)}, from line {start + 1} on"
    blocks = difflib.SequenceMatcher(None, before[start:], after[start:], autojunk=False).get_opcodes()
    changed, removed, new = [], [], []
    for kind, a, b, c, d in blocks:
        if kind == "replace" and b - a == d - c:
            changed += range(start + c + 1, start + d + 1)
        elif kind != "equal":
            removed += range(start + a + 1, start + b + 1)
            new += range(start + c + 1, start + d + 1)
    said = ((changed, "changed", "changed"), (removed, "was removed", "were removed"), (new, "is new", "are new"))
    return ", ".join(f"{_numbers(some)} {one if len(some) == 1 else many}" for some, one, many in said if some)


def _numbers(lines: Sequence[int]) -> str:
    """Return line numbers in words, runs as ranges, the first few."""
    runs = [[number for _, number in run] for _, run in groupby(enumerate(lines), lambda pair: pair[1] - pair[0])]
    shown = [f"{run[0]}" if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs[:_SHOWN]]
    more = f" and {sum(map(len, runs[_SHOWN:]))} more" if len(runs) > _SHOWN else ""
    return f"line{'s' if len(lines) > 1 else ''} {', '.join(shown)}{more}"
