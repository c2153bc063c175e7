"""Provenance of a run: recipe, seeds, library versions, hashes of recipe and data."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from overlap.plain_json import dumps
from overlap.version import DISTRIBUTION, __version__

from ..data.backgrounds import background_sha256
from ..data.hf.reference import is_dataset
from ..data.line_findings import Finding, errors, lines_of
from ..data.sources import identity
from ..recipe import Recipe
from ..recipe.augmentation import Noise
from .run_directory import RunDirectoryError, write_atomically

LIBRARIES = ("torch", "transformers", "accelerate", "numpy", "scipy", "jiwer", "soundfile", "soxr")


def resolved_configuration(recipe: Recipe) -> dict[str, Any]:
    """Return the contents of `resolved.json`."""
    dumped = recipe.model_dump(mode="json")
    manifests = {stage.manifest for stage in recipe.stages}
    manifests |= {section.manifest for section in (recipe.probe, *recipe.evaluations) if section}
    identities = {source: identity(source) for source in sorted(manifests)}
    noises = [one for stage in recipe.stages for one in stage.augment if isinstance(one, Noise)]
    alone = [recipe.probe.no_speech] if recipe.probe and recipe.probe.no_speech else []
    backgrounds = sorted({one.background for one in (*noises, *alone) if one.background is not None})
    return {
        "recipe": dumped,
        "recipe_sha256": hashlib.sha256(json.dumps(dumped, sort_keys=True).encode()).hexdigest(),
        "manifest_sha256": {source: about["sha256"] for source, about in identities.items()},
        "background_sha256": {place: background_sha256(place) for place in backgrounds},
        "datasets": {source: about for source, about in identities.items() if is_dataset(source)},
        "seed": recipe.seed,
        "python": platform.python_version(),
        "versions": {DISTRIBUTION: __version__} | {name: _version(name) for name in LIBRARIES},
    }


CHANGES = "data_changes.jsonl"
"""Changes of the data that the run accepted, one manifest per line."""


def changed_since(run: Path, key: str, step: int) -> bool:
    """Whether the run accepted a change of some data after a step.

    Args:
        run: The run directory.
        key: Of the recipe, such as `probe.manifest`.
        step: Training steps taken.
    """
    path = run / CHANGES
    rows = map(json.loads, path.read_text("utf-8").splitlines()) if path.is_file() else ()
    return any(row["key"] == key and row["step"] > step for row in rows)


UNUSABLE = "unusable.jsonl"
"""File of dropped and doubtful lines in a run directory, one finding per line."""


def list_findings(run: Path, findings: Iterable[Finding]) -> None:
    """Write findings about lines of the data into a run directory; no file if there are none."""
    lines = [dumps(finding.to_dict()) + "\n" for finding in findings]
    if lines:
        write_atomically(run / UNUSABLE, "".join(lines))
    else:
        (run / UNUSABLE).unlink(missing_ok=True)


def read_findings(run: Path) -> list[Finding]:
    """Return findings about lines of the data at the start of a run, or when a change was last accepted.

    Raises:
        RunDirectoryError: The file is damaged.
    """
    path = run / UNUSABLE
    if not path.is_file():
        return []
    try:
        return [Finding(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except (ValueError, TypeError) as error:
        raise RunDirectoryError(
            f"{path}: cannot be read as a list of findings ({error}); restore the file from a copy, or start a new run"
        ) from error


def dropped_lines(findings: Iterable[Finding]) -> dict[str, int]:
    """Return the dropped lines for `resolved.json`, if there are any."""
    dropped = lines_of(errors(findings))
    return {"unusable_lines": dropped} if dropped else {}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
