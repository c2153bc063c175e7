"""A report of runs as one file: HTML that opens offline, or Markdown for pull requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from overlap.errors import UserError
from overlap.files import replacing
from overlap.plain_json import plain

from ..run.runs import Runs, load_many
from ..tables.paired import controls_of
from .audio import Audio, Clips, collect
from .html import page
from .markdown import document
from .payload import Payload, payload
from .section import Section, section
from .thresholds import Thresholds

SUFFIXES = (".html", ".md")
BROWSER_BUDGET = 8_000_000
"""Bytes of traces and transcripts in the page, of all runs together."""
BUDGET = 12_500_000
"""The same including audio, which uses the remaining bytes. With figures and tables the page is below 15 MB."""


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        path: The file.
        size: Its bytes.
        sections: Verdicts and tables by run.
        notes: What was left out, in sentences.
    """

    path: Path
    size: int
    sections: tuple[Section, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the verdicts with their reasons and evidence, for machines."""
        runs = [
            {
                "run": s.name,
                "advisories": plain(asdict(s.advice)),
                "verdict": s.headline,
                "stages": [plain(asdict(verdict)) for verdict in s.verdicts],
            }
            | ({} if s.reading is None else {"first_reading": plain(s.reading.frame.to_dict("records"))})
            for s in self.sections
        ]
        return {"output": str(self.path), "bytes": self.size, "runs": runs, "left_out": list(self.notes)}

    def __str__(self) -> str:
        lines = [f"{s.name}: {s.headline}" for s in self.sections]
        return "\n".join([*lines, *self.notes, f"written to {self.path} ({self.size / 1e6:.1f} MB)"])


def write_report(
    runs: Runs | Sequence[str | Path] | str | Path,
    output: str | Path,
    *,
    thresholds: Thresholds = Thresholds(),  # noqa: B008 (frozen)
    clips: Clips | None = None,
) -> Report:
    """Write a report of one or several runs, finished or not, or of traces of probes.

    A run with OPD is compared with its controls, the other given runs without OPD, paired by utterance.

    Args:
        runs: Run directories, files that `distill probe --output` wrote, or the result of `load_many`.
        output: `.html` for one self-contained page with the utterance browser, `.md` for Markdown. An existing file is
            replaced atomically.
        thresholds: Of the verdicts.
        clips: Source of the utterances' audio; without it, or in Markdown, there is none.

    Raises:
        FileNotFoundError: A directory holds no run, or the output's folder does not exist.
        UserError: Another suffix, a damaged file, or audio that cannot be read.
    """
    output = Path(output)
    _check(output)
    several = runs if isinstance(runs, Runs) else load_many([runs] if isinstance(runs, str | Path) else runs)
    sections = tuple(section(name, run, thresholds, controls_of(several, name)) for name, run in several.items())
    if output.suffix == ".md":
        return Report(output, _replace(output, document(several, sections, thresholds)), sections, ())
    payloads = {name: payload(run, BROWSER_BUDGET // len(several)) for name, run in several.items()}
    audio = {name: Audio({}) for name in several}
    if clips is not None:
        budget = (BUDGET - sum(found.size for found in payloads.values())) // len(several)
        audio = {
            name: collect(clips, _ids_by_manifest(run.resolved["recipe"], run), budget) for name, run in several.items()
        }
    size = _replace(output, page(several, sections, payloads, audio, thresholds))
    return Report(output, size, sections, _notes(payloads, audio))


def _check(output: Path) -> None:
    if output.suffix not in SUFFIXES:
        raise UserError(
            f"{output}: a report is HTML or Markdown; give an output that ends in .html or .md, such as report.html"
        )
    if output.is_dir():
        raise UserError(f"{output} is a directory; give a file, such as {output / 'report.html'}")
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"{output}: the folder {output.parent} does not exist; create it, or write elsewhere")


def _ids_by_manifest(recipe: Mapping[str, Any], run: Any) -> dict[str, list[str]]:
    """Return ids by manifest: traced utterances first."""
    found: dict[str, list[str]] = {}
    for part, frame in (("probe", run.traces), ("evaluation", run.transcripts)):
        manifest = (recipe.get(part) or {}).get("manifest")
        if manifest and len(frame):
            found.setdefault(manifest, []).extend(dict.fromkeys(frame["id"].tolist()))
    return found


def _notes(payloads: Mapping[str, Payload], audio: Mapping[str, Audio]) -> tuple[str, ...]:
    found = [(name, note) for name in payloads for note in (*payloads[name].left_out, *audio[name].notes)]
    return tuple(f"{name}: {note}" if len(payloads) > 1 else note for name, note in found)


def _replace(path: Path, text: str) -> int:
    """Replace the file atomically."""
    data = text.encode("utf-8", errors="replace")
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return len(data)
