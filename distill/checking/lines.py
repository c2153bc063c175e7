"""Lines of manifests that cannot be used or may be mistakes, one row for each field of a manifest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from overlap.estimates.number_formatting import count, plural

from ..data.line_findings import Finding, lines_of
from .finding import CheckFinding
from .sets import NamedSet

CHECK = "lines and audio"
SHOWN = 3
"""Lines that a row names."""


def check_lines(found: Sequence[Finding], sets: Iterable[NamedSet], *, dropped: bool) -> list[CheckFinding]:
    """Return rows about lines that cannot be read, audio that cannot be opened or is too long, ids that occur twice.

    Args:
        found: About the lines.
        sets: All sets of the recipe, without those lines.
        dropped: Whether the run goes on without unusable lines (`audio.unusable = "drop"`); they are then warnings.
    """
    groups: dict[tuple[str, str | None, str], list[Finding]] = {}
    for one in found:
        groups.setdefault((one.file, one.field, one.severity), []).append(one)
    rows = [_row(group, dropped) for group in groups.values()]
    if not any(one.severity == "error" for one in found):
        n = {one.manifest: len(one.utterances) for one in sets}
        rows.append(
            CheckFinding(
                "ok",
                CHECK,
                f"all {count(sum(n.values()))} lines of {len(n)} {plural('manifest', len(n))} can be used: their audio "
                "opens and is within the limits, and no id occurs twice in a manifest",
            )
        )
    return rows


def _row(group: Sequence[Finding], dropped: bool) -> CheckFinding:
    first, n = group[0], lines_of(group)
    left_out = first.severity == "error" and dropped
    what = "is left out" if left_out else "cannot be used" if first.severity == "error" else "may be a mistake"
    whats = "are left out" if left_out else "cannot be used" if first.severity == "error" else "may be mistakes"
    named = "; ".join(_named(one) for one in group[:SHOWN])
    more = f"; … and {len(group) - SHOWN} more" if len(group) > SHOWN else ""
    field = f', field "{first.field}"' if first.field else ""
    remedies = list(dict.fromkeys(one.remedy for one in group))
    head = f"{first.file}{field}: {count(n)} {plural('line', n)} {what if n == 1 else whats}"
    return CheckFinding(
        "error" if first.severity == "error" and not dropped else "warning",
        CHECK,
        f"{head}: {named}{more}",
        " / ".join(remedies[:SHOWN]),
    )


def _named(finding: Finding) -> str:
    place = "" if finding.line is None else f"line {finding.line}: "
    who = "" if finding.id is None or finding.field == "id" else f"{finding.id!r} "
    return f"{place}{who}{finding.message}"
