"""Regions that quote the code: exit codes, levels of the first reading, figures."""

import inspect
from pathlib import Path

from analysis import figures as drawn
from analysis.formatting import markdown
from distill.cli.exit_codes import ExitCode
from overlap.estimates.first_reading import NUMBERS
from overlap.gates import READINESS

PICTURES = Path("notebooks/figures")
OTHERWISE = {"overlap_over_training": "demo"}
"""Pictures of another name than their figure."""

NAMES = {
    "used": "share of positions used",
    "student_size": "`student_size` / k",
    "teacher_size": "`teacher_size` / k",
}
WHY = {
    "positions": "prompts, tokenizers and vocabulary map fit",
    "agreement": "both models would write the same token",
    "mass on the other's set": "each model's probability lies on the other's support",
    "overlap ratio": "shared tokens / k; compare probes of one run",
    "endings": "transcripts end, do not loop and are not empty",
}


def exit_codes(_: Path) -> str:
    """Code and meaning."""
    return markdown(["code", "meaning"], [[str(code.value), code.meaning] for code in ExitCode], left=2)


def five_numbers(_: Path) -> str:
    """The statistics to read first, with their levels."""
    rows = []
    for place, number in enumerate(NUMBERS, start=1):
        wanted = []
        for one in number.wanted:
            name = NAMES.get(one.statistic, f"`{one.statistic}`")
            level = f" ≥ {one.at_least:g}" if one.at_least is not None else ""
            level += f" ≤ {one.at_most:g}" if one.at_most is not None else ""
            wanted.append(f"{name}{level or ' rising'}")
        rows.append([str(place), number.name, ", ".join(wanted), WHY[number.name]])
    return markdown(["", "number", "in order", "says that"], rows, left=4)


def levels_of_agreement(_: Path) -> str:
    """The levels of one statistic, and who asks for which."""
    advised, least = (READINESS.level("top1_agreement", question) for question in ("switch", "least"))
    whisper = READINESS.level("top1_agreement", setting="whisper_tiny_en")
    return (
        f"Three levels of `top1_agreement` differ because they answer different questions. {advised:g} is cautious: "
        f"`distill probe` and the gates of `distill new` ask for it. {least:g} is the least: from there on, every run "
        f"so far ended OPD with fewer errors than Base, and `distill report` asks for no more. {whisper:g} is the gate "
        "of the recipe `whisper_tiny_en`: on its recorded speech, teacher data alone levels off slightly above it."
    )


def soft_switches(_: Path) -> str:
    """A share that follows agreement, at the levels of the table."""
    least, advised = (READINESS.level("top1_agreement", question) for question in ("least", "switch"))
    return (
        "```toml\n"
        "[stages.off_policy]\n"
        'states = "teacher"\n'
        f'fraction = {{ type = "overlap", statistic = "top1_agreement.without_repeats", low = {least:g}, '
        f"high = {advised:g} }}\n"
        "```"
    )


def drawing() -> list[str]:
    """Names of the functions of `analysis.figures` that draw: they take a width or return a figure."""
    taken = {name: inspect.signature(getattr(drawn, name)) for name in drawn.__all__}
    return [n for n, found in taken.items() if "width" in found.parameters or "Figure" in str(found.return_annotation)]


def figures(_: Path) -> str:
    """Every figure with its picture."""
    rows = []
    for name in drawing():
        first = (inspect.getdoc(getattr(drawn, name)) or "").split("\n\n")[0]
        sentence = " ".join(first.split()).removeprefix("Draw ")
        picture = PICTURES / f"{OTHERWISE.get(name, name)}.png"
        rows.append([f"`{name}`", sentence, f"![{name}](../{picture})"])
    return markdown(["figure", "shows", ""], rows, left=3)
