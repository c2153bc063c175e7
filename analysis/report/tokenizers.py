"""What a report says of a run's tokenizers: which were mended, and whether they write what their models write."""

from __future__ import annotations

from typing import Any

from ..formatting import count, number
from ..run.files import read_object
from ..run.load import Run

ROUND_TRIP = "round_trip.json"


def tokenizer_rows(run: Run) -> list[tuple[str, str]]:
    """Names and values for the table of what a run was made from; none for runs that did not look.

    Raises:
        UserError: The file of the round trip is damaged; names it.
    """
    found: dict[str, Any] = run.resolved.get("tokenizers") or {}
    rows = [(f"{role}'s tokenizer", _checked(about)) for role, about in found.items()]
    trip = _round_trip(run)
    if trip:
        rows.append(("teacher's own transcripts that its tokenizer cuts otherwise", _share(trip)))
    return rows


def tokenizer_notes(run: Run) -> list[str]:
    """Sentences on tokenizers that do not write what their models write; none where they do."""
    notes = []
    for role, about in (run.resolved.get("tokenizers") or {}).items():
        if merges := about.get("merges_put_back"):
            named = ", ".join(" ".join(merge) for merge in merges)
            notes.append(f"The {role}'s tokenizer lacked merges that were put back: {named}; checkpoints save it so.")
    trip = _round_trip(run)
    if trip and trip.get("n_recut"):
        notes.append(
            f"Of the teacher's own transcripts {_share(trip)} come back in other tokens when they are encoded: as text "
            "they are not what it writes. Its tokens are used wherever the student has them; see `recut` for positions."
        )
    return notes


def _checked(about: dict[str, Any]) -> str:
    if not about.get("text_tokens"):
        return "of a kind that is not judged"
    put_back = len(about.get("merges_put_back") or [])
    mended = f", {count(put_back)} missing merges put back" if put_back else ""
    return f"{count(about['unreachable'])} of {count(about['text_tokens'])} text tokens never encoded to{mended}"


def _round_trip(run: Run) -> dict[str, Any] | None:
    path = run.path / ROUND_TRIP
    return read_object(path.read_bytes(), str(path), ("teacher",))["teacher"] if path.is_file() else None


def _share(trip: dict[str, Any]) -> str:
    if not trip.get("n_judged"):
        return f"not known: none of {count(trip['n'])} was written in tokens that are known"
    return f"{count(trip['n_recut'])} of {count(trip['n_judged'])} ({number(100 * trip['share'], 0)} %)"
