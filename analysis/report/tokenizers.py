"""Notes of a report on tokenizers: restored merges, and tokens that change when a transcript is encoded again."""

from __future__ import annotations

from typing import Any

from ..formatting import count, number
from ..run.files import read_object
from ..run.load import Run

ROUND_TRIP = "round_trip.json"


def tokenizer_rows(run: Run) -> list[tuple[str, str]]:
    """Return names and values for the table of a run's provenance; empty for runs that did not check.

    Raises:
        UserError: The file of the round trip is damaged; names it.
    """
    found: dict[str, Any] = run.resolved.get("tokenizers") or {}
    rows = [(f"{role}'s tokenizer", _checked(about)) for role, about in found.items()]
    trip = _round_trip(run)
    if trip:
        rows.append(("teacher's own transcripts that its tokenizer splits differently", _share(trip)))
    return rows


def tokenizer_notes(run: Run) -> list[str]:
    """Return sentences on restored merges and on transcripts that are encoded differently; none without such."""
    notes = []
    for role, about in (run.resolved.get("tokenizers") or {}).items():
        if merges := about.get("merges_put_back"):
            named = ", ".join(" ".join(merge) for merge in merges)
            notes.append(f"The {role}'s tokenizer lacked merges, now restored: {named}. Checkpoints save them.")
    trip = _round_trip(run)
    if trip and trip.get("n_recut"):
        notes.append(
            f"Of the teacher's own transcripts, {_share(trip)} are encoded into other tokens than the teacher wrote. "
            "Its own tokens are used wherever the student has them; see `recut` for positions."
        )
    return notes


def _checked(about: dict[str, Any]) -> str:
    if not about.get("text_tokens"):
        return "not checked: unknown kind"
    put_back = len(about.get("merges_put_back") or [])
    mended = f", {count(put_back)} missing merges restored" if put_back else ""
    return f"{count(about['unreachable'])} of {count(about['text_tokens'])} text tokens never encoded to{mended}"


def _round_trip(run: Run) -> dict[str, Any] | None:
    path = run.path / ROUND_TRIP
    return read_object(path.read_bytes(), str(path), ("teacher",))["teacher"] if path.is_file() else None


def _share(trip: dict[str, Any]) -> str:
    if not trip.get("n_judged"):
        return f"unknown: the tokens of none of {count(trip['n'])} are known"
    return f"{count(trip['n_recut'])} of {count(trip['n_judged'])} ({number(100 * trip['share'], 0)} %)"
