"""The browser's data inside the page: compressed by group, within a budget."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from overlap.plain_json import dumps

from ..formatting import count, plural
from ..run.load import Run
from .browser_rows import Group, groups, packed

CANDIDATES = (8, 5, 3)
"""Possible numbers of tokens of each model's support kept at a position, from the best case down."""
BYTES_A_CANDIDATE = 13
"""Approximate bytes of a candidate in the page; each rank has two, one for each model."""


@dataclass(frozen=True)
class PackedGroup:
    """A group in the page.

    Attributes:
        about: Its entry in the browser's index.
        data: gzip of JSON, in base64.
    """

    about: dict[str, Any]
    data: str


@dataclass(frozen=True)
class Payload:
    """Data of the browser for one run.

    Attributes:
        chunks: In the order of training.
        candidates: Number of tokens of each model's support that are kept at a position.
        notes: Notes on the candidates.
        left_out: Sentences on data that did not fit.
    """

    chunks: tuple[PackedGroup, ...]
    candidates: int
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes in the page."""
        return sum(len(chunk.data) for chunk in self.chunks)


def payload(run: Run, budget: int) -> Payload:
    """Return traces and transcripts of a run for the browser.

    Traces of the student's rollouts come first, the latest before earlier ones, then evaluations, then other states.
    Data that does not fit is left out, with a note.

    Args:
        run: A run, finished or not.
        budget: Bytes in the page at most.
    """
    found = groups(run)
    positions = sum(group.n_positions for group in found if group.what == "student")
    fits = (m for m in CANDIDATES if 2 * m * positions * BYTES_A_CANDIDATE <= budget)
    candidates = next(fits, CANDIDATES[-1])
    left: int = budget
    notes: list[str] = []
    chosen: list[tuple[Group, PackedGroup]] = []
    for group in found:
        chunk, shown = _fitted(run, group, candidates, left if chosen else budget, not chosen)
        if chunk is None:
            notes.append(f"step {count(group.step)} {group.stage}, {group.label}")
            continue
        if shown < len(group.frame):
            notes.append(
                f"{count(len(group.frame) - shown)} of {count(len(group.frame))} "
                f"{plural('utterance', len(group.frame))} at step {count(group.step)} {group.stage}, {group.label}"
            )
        left -= len(chunk.data)
        chosen.append((group, chunk))
    order = {id(group): place for place, group in enumerate(found)}
    chosen.sort(key=lambda pair: (pair[0].step, order[id(pair[0])]))
    said = (f"Left out to limit the size of the page: {'; '.join(notes)}.",) if notes else ()
    return Payload(tuple(chunk for _, chunk in chosen), candidates, tuple(_truncation(run, candidates)), said)


def _fitted(run: Run, group: Group, candidates: int, room: int, must: bool) -> tuple[PackedGroup | None, int]:
    """Return a group packed to fit the room; the first group is shortened until it fits, any other is left out."""
    n = len(group.frame)
    while True:
        part = Group(**{**vars(group), "frame": group.frame.iloc[:n]})
        data = compressed(packed(run, part, candidates))
        if len(data) <= room:
            return PackedGroup(_about(group, n), data), n
        if not must or n <= 1:
            return None, 0
        n = max(1, min(n - 1, int(0.95 * n * room / len(data))))


def _about(group: Group, n: int) -> dict[str, Any]:
    names = ("step", "stage", "what", "label", "traced", "errors")
    return {name: getattr(group, name) for name in names} | {"n": n, "kept": n == len(group.frame)}


def _truncation(run: Run, candidates: int) -> Sequence[str]:
    ks = sorted(set(run.traces["k"].tolist())) if len(run.traces) else []
    if not ks or max(ks) <= candidates:
        return ()
    k = " and ".join(str(k) for k in ks)
    return (
        f"Of each model's supports (k = {k}) the {candidates} most probable tokens are shown at a position; every "
        "statistic uses the complete sets.",
    )


def compressed(tree: Any) -> str:
    """Return gzip of JSON in base64, the same bytes for the same content."""
    text = dumps(tree, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("utf-8", errors="replace"), 6, mtime=0)).decode("ascii")
