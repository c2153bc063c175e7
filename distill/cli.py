"""The command line: verbs only. Each is a thin call of something that Python can call as well."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.console import Console

from analysis import load, stage_table

from . import launch
from .audio import AudioCache
from .data import AudioSource
from .evaluation import evaluate as evaluate_model
from .extras import MissingExtraError
from .manifest import require_text
from .models import load_recogniser
from .pair import Pair
from .paths import shipped_recipes
from .probe import StateProbe
from .probe import probe as probe_pair
from .progress import TerminalProgress
from .recipe import Decoding, Support, load_recipe
from .run_directory import write_parquet
from .setup import check_durations
from .show import show as show_utterance
from .sources import read_utterances
from .trainer import RunResult, TrainingError

app = App(name="distill", help="Distil a speech recogniser on-policy, in stages gated on support overlap.")
stderr = Console(stderr=True)

ABORTED = 3
"""Exit code of a run that a gate aborted."""

JsonFlag = Annotated[bool, Parameter(name="--json")]


@app.command
def demo(*, output: Path, seed: int = 0, recipe: str = "demo") -> int:
    """Train the embedded demo: a small student through SFT, teacher data and OPD under overlap gates, on a CPU.

    Args:
        output: Run directory to create.
        seed: Seed of the student's weights, the order of the data, and the intervals.
        recipe: Shipped recipe to run, such as demo or demo_matched.
    """
    return _train(recipe, output, (f"seed={seed}",))


@app.command
def train(recipe: str, *, output: Path, set_: Annotated[tuple[str, ...], Parameter(name="--set")] = ()) -> int:
    """Run a recipe.

    Args:
        recipe: TOML file, or the name of a shipped recipe.
        output: Run directory to create.
        set_: dotted.key=value changes to the recipe, for instance stages.1.lr=1e-6.
    """
    return _train(recipe, output, set_)


@app.command
def resume(run: Path) -> int:
    """Continue an interrupted run from its newest checkpoint.

    Args:
        run: Run directory.
    """
    with TerminalProgress() as progress:
        result = launch.resume(run, observer=progress)
    return _conclude(result)


@app.command
def recipes() -> None:
    """List the shipped recipes."""
    for name in shipped_recipes():
        print(name)


@app.command
def evaluate(
    *,
    model: str,
    manifest: str,
    normaliser: str = "basic",
    batch_size: int = 16,
    max_new_tokens: int = 256,
    max_seconds: float = 30.0,
    output: Path | None = None,
    json_: JsonFlag = False,
) -> None:
    """Word and character error rate of a model on a manifest, with intervals.

    Args:
        model: Directory or Hub name.
        manifest: JSON lines with audio and text, or a data set such as hf:NAME:CONFIG:SPLIT.
        normaliser: Text normaliser applied to both sides; its name and version are part of the result.
        batch_size: Utterances at once.
        max_new_tokens: Longest transcript, in tokens.
        max_seconds: Longer utterances are refused.
        output: Write transcripts with their errors there (Parquet, a row an utterance).
        json_: Print one JSON object to standard output and nothing else there.
    """
    utterances = read_utterances(manifest)
    require_text(utterances, "evaluation")
    check_durations(utterances, max_seconds)
    recogniser = load_recogniser(model)
    with TerminalProgress() as progress:
        evaluation = evaluate_model(
            recogniser,
            AudioSource(AudioCache(max_seconds=max_seconds)),
            utterances,
            normaliser=normaliser,
            decoding=Decoding(max_new_tokens=max_new_tokens),
            batch_size=batch_size,
            progress=lambda done, total: progress.work("transcribing", done, total),
        )
    if output:
        _write_rows(output, evaluation.rows)
    result = {"model": model, "manifest": manifest} | evaluation.score.to_dict()
    print(json.dumps(result, ensure_ascii=False, allow_nan=False) if json_ else evaluation.score)


@app.command
def probe(
    *,
    student: str,
    teacher: str,
    manifest: str,
    k: int = 32,
    temperature: float = 1.0,
    max_new_tokens: int = 256,
    batch_size: int = 16,
    max_utterances: int | None = None,
    max_seconds: float = 30.0,
    output: Path | None = None,
    json_: JsonFlag = False,
) -> None:
    """Support overlap of two models over a manifest, at the states of the student's own rollouts.

    Args:
        student: Directory or Hub name of the model that writes.
        teacher: Directory or Hub name of the model that scores.
        manifest: JSON lines, or a data set such as hf:NAME:CONFIG:SPLIT; only audio is needed.
        k: Size of the top-k sets.
        temperature: Of the probabilities.
        max_new_tokens: Longest rollout, in tokens.
        batch_size: Utterances at once.
        max_utterances: Use the first so many.
        max_seconds: Longer utterances are refused.
        output: Write a trace there (Parquet, a row an utterance).
        json_: Print one JSON object to standard output and nothing else there.
    """
    utterances = read_utterances(manifest)[:max_utterances]
    check_durations(utterances, max_seconds)
    pair = Pair.of(load_recogniser(student), load_recogniser(teacher), k)
    with TerminalProgress() as progress:
        result = probe_pair(
            pair,
            AudioSource(AudioCache(max_seconds=max_seconds)),
            utterances,
            Support(k=k, temperature=temperature),
            Decoding(max_new_tokens=max_new_tokens),
            batch_size=batch_size,
            traced=len(utterances) if output else 0,
            progress=lambda done, total: progress.work("probing", done, total),
        )
    if output:
        _write_rows(output, result.traces)
    _print_probe(result, {"student": student, "teacher": teacher, "manifest": manifest}, json_, output)


@app.command
def show(
    *,
    student: str,
    teacher: str,
    manifest: str,
    utterance: str | None = None,
    states: Literal["student", "teacher", "reference"] = "student",
    k: int = 32,
    max_new_tokens: int = 256,
    max_seconds: float = 30.0,
    json_: JsonFlag = False,
) -> None:
    """Both models' prompts and tokens of one utterance, position by position: a pair that does not fit shows at once.

    Args:
        student: Directory or Hub name of the model whose positions these are.
        teacher: Directory or Hub name of the model that scores.
        manifest: JSON lines, or a data set such as hf:NAME:CONFIG:SPLIT.
        utterance: Its id; the manifest's first if not given.
        states: Whose transcript is scored.
        k: Size of the top-k sets.
        max_new_tokens: Longest transcript, in tokens.
        max_seconds: Longer utterances are refused.
        json_: Print one JSON object to standard output and nothing else there.
    """
    utterances = read_utterances(manifest)
    chosen = [u for u in utterances if utterance in (None, u.id)][:1]
    if not chosen:
        raise ValueError(f"{manifest} has no utterance {utterance!r}; its first is {utterances[0].id!r}")
    if states == "reference":
        require_text(chosen, "scoring the reference")
    check_durations(chosen, max_seconds)
    pair = Pair.of(load_recogniser(student), load_recogniser(teacher), k)
    view = show_utterance(
        pair,
        AudioSource(AudioCache(max_seconds=max_seconds)),
        chosen[0],
        Support(k=k),
        Decoding(max_new_tokens=max_new_tokens),
        states=states,
    )
    print(json.dumps(view.to_dict(), ensure_ascii=False, allow_nan=False) if json_ else view)


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    import pandas as pd

    write_parquet(path, pd.DataFrame(rows))


def _print_probe(result: StateProbe, sources: dict[str, str], as_json: bool, output: Path | None) -> None:
    if as_json:
        tree = sources | {"summary": result.estimates.to_dict(), "funnel": result.funnel.to_dict()}
        if result.coverage:
            sides = {"student": result.coverage.student, "teacher": result.coverage.teacher}
            tree["vocabulary"] = {name: {"ids": side.ids, "mapped": side.mapped} for name, side in sides.items()}
        print(json.dumps(tree, ensure_ascii=False, allow_nan=False))
        return
    print(*filter(None, (result.estimates, result.funnel, result.coverage)), sep="\n\n")
    if output:
        print(f"\ntrace of {len(result.traces)} utterances: {output}")


def _train(recipe: str, output: Path, overrides: tuple[str, ...]) -> int:
    loaded = load_recipe(recipe, overrides)
    with TerminalProgress() as progress:
        result = launch.train(loaded, output, observer=progress)
    return _conclude(result)


def _conclude(result: RunResult) -> int:
    print(stage_table(load(result.path)).to_text())
    print(f"\n{result.outcome}\nrun directory: {result.path}\nmodel: {result.model}")
    return ABORTED if result.aborted else 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; a user's mistake is one message and exit code 1 (2 for the command itself).

    Args:
        arguments: Words of the command line; None takes the process's own.
    """
    try:
        sys.exit(app(sys.argv[1:] if arguments is None else arguments, result_action="return_value") or 0)
    except (MissingExtraError, OSError, TrainingError, ValueError) as error:
        stderr.print(f"[bold red]error:[/] {_escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        stderr.print("interrupted; continue with `distill resume RUN`")
        sys.exit(130)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    main()
