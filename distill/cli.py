"""The command line: verbs only. Each is a thin call of something that Python can call as well."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from cyclopts import App, Parameter
from rich.console import Console

from analysis import load, stage_table

from . import launch
from .audio import AudioCache
from .clips import manifest_clips
from .data import AudioSource, check_inputs
from .evaluation import evaluate as evaluate_model
from .extras import MissingExtraError
from .manifest import Utterance, require_text
from .models import Recogniser, load_recogniser
from .pair import Pair
from .paths import shipped_recipes
from .preflight import preflight as ask_server
from .probe import StateProbe
from .probe import probe as probe_pair
from .progress import TerminalProgress
from .recipe import Decoding, Filters, Server, Support, Teacher, Transcription, load_recipe
from .run_directory import write_parquet
from .setup import check_durations
from .show import show as show_utterance
from .sources import read_utterances
from .teacher import ServedTeacher, load_served_teacher
from .teacher_data import transcribe_manifest
from .trainer import RunResult, TrainingError

app = App(name="distill", help="Distil a speech recogniser on-policy, in stages gated on support overlap.")
stderr = Console(stderr=True)

ABORTED = 3
"""Exit code of a run that a gate aborted."""

PREFLIGHT_CLIPS = 8

JsonFlag = Annotated[bool, Parameter(name="--json")]


@Parameter(name="*")
@dataclass(frozen=True)
class Loading:
    """How the models of a command are loaded.

    Attributes:
        trust_remote_code: Run Python code that checkpoints bring, as Ark-ASR's do; read it first.
        prompt_format: How text models read prompts: auto wraps them in the chat template where there is one.
        chat_template_kwargs: Further variables of text models' chat templates, as JSON.
    """

    trust_remote_code: bool = False
    prompt_format: Literal["auto", "chat", "plain"] | None = None
    chat_template_kwargs: str | None = None

    def load(self, model: str) -> Recogniser:
        """Load a directory or Hub name."""
        options: dict[str, Any] = {} if self.prompt_format is None else {"prompt_format": self.prompt_format}
        if self.chat_template_kwargs is not None:
            try:
                options["chat_template_kwargs"] = dict(json.loads(self.chat_template_kwargs))
            except (ValueError, TypeError) as error:
                raise ValueError(
                    f"--chat-template-kwargs {self.chat_template_kwargs}: expected a JSON object, for instance "
                    '{"enable_thinking": false}'
                ) from error
        return load_recogniser(model, options=options, trust_remote_code=self.trust_remote_code)


AS_THEY_ARE = Loading()


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
    loading: Loading = AS_THEY_ARE,
    json_: JsonFlag = False,
) -> None:
    """Word and character error rate of a model on a manifest, with intervals.

    Args:
        model: Directory or Hub name.
        manifest: JSON lines with audio, or a prompt for a text model, and text; or a data set such as
            hf:NAME:CONFIG:SPLIT.
        normaliser: Text normaliser applied to both sides; its name and version are part of the result.
        batch_size: Utterances at once.
        max_new_tokens: Longest transcript, in tokens.
        max_seconds: Longer utterances are refused.
        output: Write transcripts with their errors there (Parquet, a row an utterance).
        loading: How the model is loaded.
        json_: Print one JSON object to standard output and nothing else there.
    """
    utterances = read_utterances(manifest)
    require_text(utterances, "evaluation")
    check_durations(utterances, max_seconds)
    recogniser = loading.load(model)
    check_inputs(utterances, recogniser)
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
def transcribe(
    *,
    teacher: str,
    manifest: str,
    output: Path,
    transcription: Annotated[Transcription, Parameter(name="*")] = Transcription(),  # noqa: B008 (frozen)
    filters: Annotated[Filters, Parameter(name="*", group="Filters")] = Filters(),  # noqa: B008 (frozen)
    revision: str | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    device: str | None = None,
    teacher_url: str | None = None,
    server: Annotated[Server, Parameter(name="*", group="Server")] = Server(),  # noqa: B008 (frozen)
    max_seconds: float = 30.0,
    normaliser: str = "basic",
    json_: JsonFlag = False,
) -> None:
    """Teacher data: transcripts of a manifest with their confidence, filtered.

    The same command again resumes a job that was interrupted; with other filters, it transcribes nothing a second time.

    Args:
        teacher: Directory or Hub name of the model that writes.
        manifest: JSON lines, or a data set such as hf:NAME:CONFIG:SPLIT; only audio is needed.
        output: Manifest to write. Beside it stand what was dropped and why, a summary, and the journal that resumes.
        transcription: How the teacher writes, and in which batches.
        filters: What is dropped.
        revision: Hub revision of the teacher.
        dtype: Type of its weights.
        device: Where it runs, such as cuda:1; an accelerator if there is one, else the CPU.
        teacher_url: A server (vLLM, SGLang) that runs the teacher.
        server: How the server is asked.
        max_seconds: Longer utterances cannot be used.
        normaliser: Text normaliser of the error rates, where the manifest has references.
        json_: Print one JSON object to standard output and nothing else there.
    """
    with TerminalProgress() as progress:
        data = transcribe_manifest(
            Teacher(model=teacher, revision=revision, dtype=dtype, url=teacher_url, server=server),
            manifest,
            output,
            transcription=transcription,
            filters=filters,
            device=_device(device),
            max_seconds=max_seconds,
            normaliser=normaliser,
            progress=lambda done, total: progress.work("transcribing", done, total),
        )
    tree = {"manifest": manifest, "output": str(output)} | data.summary.to_dict()
    print(json.dumps(tree, ensure_ascii=False, allow_nan=False) if json_ else f"{data.summary}\n\nwritten to {output}")


@app.command
def probe(
    *,
    student: str | None = None,
    teacher: str,
    manifest: str,
    k: int = 32,
    temperature: float = 1.0,
    max_new_tokens: int = 256,
    batch_size: int = 16,
    max_utterances: int | None = None,
    max_seconds: float = 30.0,
    output: Path | None = None,
    teacher_url: str | None = None,
    server: Annotated[Server, Parameter(name="*")] = Server(),  # noqa: B008 (frozen)
    preflight: bool = False,
    loading: Loading = AS_THEY_ARE,
    json_: JsonFlag = False,
) -> int:
    """Support overlap of two models over a manifest, at the states of the student's own rollouts.

    Args:
        student: Directory or Hub name of the model that writes; a preflight needs none.
        teacher: Directory or Hub name of the model that scores; with --teacher-url of its tokenizer.
        manifest: JSON lines, or a data set such as hf:NAME:CONFIG:SPLIT; only audio is needed, or a prompt for text
            models.
        k: Size of the top-k sets.
        temperature: Of the probabilities.
        max_new_tokens: Longest rollout, in tokens.
        batch_size: Utterances at once.
        max_utterances: Use the first so many; a preflight uses 8 unless told.
        max_seconds: Longer utterances are refused.
        output: Write a trace there (Parquet, a row an utterance).
        teacher_url: A server (vLLM, SGLang) that runs the teacher; statistics that its best tokens do not decide come
            as bounds.
        server: How the server is asked.
        preflight: Report what the server can do, how fast, and how near it is to local weights; exit code 1 on a
            problem.
        loading: How the models are loaded.
        json_: Print one JSON object to standard output and nothing else there.
    """
    if preflight and teacher_url is None:
        raise ValueError("--preflight asks a server: give its --teacher-url")
    if student is None and not preflight:
        raise ValueError("--student is missing: the model whose rollouts are measured")
    served = Teacher(model=teacher, url=teacher_url, server=server)
    if teacher_url is not None and temperature != 1.0:
        raise ValueError("--temperature: a server's log-probabilities are at temperature 1; leave it out")
    utterances = read_utterances(manifest)[: max_utterances or (PREFLIGHT_CLIPS if preflight else None)]
    check_durations(utterances, max_seconds)
    source = AudioSource(AudioCache(max_seconds=max_seconds))
    scorer = loading.load(teacher) if teacher_url is None else load_served_teacher(served, k)
    sources = {"student": student, "teacher": teacher, "manifest": manifest}
    sources |= {} if teacher_url is None else {"teacher_url": teacher_url}
    if preflight:
        assert isinstance(scorer, ServedTeacher)
        return _preflight(scorer, source, utterances, k, max_new_tokens, sources, json_)
    assert student is not None
    pair = Pair.of(loading.load(student), scorer, k)
    check_inputs(utterances, pair.student, pair.teacher)
    with TerminalProgress() as progress:
        result = probe_pair(
            pair,
            source,
            utterances,
            Support(k=k, temperature=temperature),
            Decoding(max_new_tokens=max_new_tokens),
            batch_size=batch_size,
            traced=len(utterances) if output else 0,
            progress=lambda done, total: progress.work("probing", done, total),
        )
    if output:
        _write_rows(output, result.traces)
    _print_probe(result, sources, json_, output)
    if isinstance(scorer, ServedTeacher) and scorer.cache is not None:
        stderr.print(f"{scorer.cache.hits} of {scorer.cache.hits + scorer.cache.misses} answers from {server.cache}")
    return 0


def _preflight(
    teacher: ServedTeacher,
    source: AudioSource,
    utterances: Sequence[Utterance],
    k: int,
    max_new_tokens: int,
    sources: dict[str, Any],
    as_json: bool,
) -> int:
    with TerminalProgress() as progress:
        found = ask_server(
            teacher,
            source,
            utterances,
            k,
            max_new_tokens=max_new_tokens,
            progress=lambda done, total: progress.work("asking", done, total),
        )
    print(json.dumps(sources | found.to_dict(), ensure_ascii=False, allow_nan=False) if as_json else found)
    return 1 if found.problems else 0


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
    loading: Loading = AS_THEY_ARE,
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
        loading: How the models are loaded.
        json_: Print one JSON object to standard output and nothing else there.
    """
    utterances = read_utterances(manifest)
    chosen = [u for u in utterances if utterance in (None, u.id)][:1]
    if not chosen:
        raise ValueError(f"{manifest} has no utterance {utterance!r}; its first is {utterances[0].id!r}")
    if states == "reference":
        require_text(chosen, "scoring the reference")
    check_durations(chosen, max_seconds)
    pair = Pair.of(loading.load(student), loading.load(teacher), k)
    check_inputs(chosen, pair.student, pair.teacher)
    view = show_utterance(
        pair,
        AudioSource(AudioCache(max_seconds=max_seconds)),
        chosen[0],
        Support(k=k),
        Decoding(max_new_tokens=max_new_tokens),
        states=states,
    )
    print(json.dumps(view.to_dict(), ensure_ascii=False, allow_nan=False) if json_ else view)


@app.command
def report(
    runs: list[Path],
    /,
    *,
    output: Annotated[Path, Parameter(name=("--output", "-o"))],
    audio: bool = False,
    json_: JsonFlag = False,
) -> None:
    """A report of runs in one file: verdicts with their evidence, figures, tables, and a browser of utterances.

    Args:
        runs: Run directories, finished or not.
        output: A .html file that opens offline, or .md for a pull request; replaced if it is there.
        audio: Put the utterances' audio into the page, as far as it stays small.
        json_: Print one JSON object to standard output and nothing else there.
    """
    from analysis.report import write_report

    written = write_report(runs, output, clips=manifest_clips if audio else None)
    print(json.dumps(written.to_dict(), ensure_ascii=False, allow_nan=False) if json_ else written)


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"--device {name} cannot be used: {reason}") from error


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    import pandas as pd

    write_parquet(path, pd.DataFrame(rows))


def _print_probe(result: StateProbe, sources: dict[str, Any], as_json: bool, output: Path | None) -> None:
    if as_json:
        tree = sources | {"summary": result.estimates.to_dict(), "funnel": result.funnel.to_dict()}
        if result.coverage:
            sides = {"student": result.coverage.student, "teacher": result.coverage.teacher}
            tree["vocabulary"] = {name: {"ids": side.ids, "mapped": side.mapped} for name, side in sides.items()}
        if result.bounds:
            tree["bounds"] = result.bounds.to_summary().to_dict()
        print(json.dumps(tree, ensure_ascii=False, allow_nan=False))
        return
    print(*filter(None, (result.estimates, result.bounds, result.funnel, result.coverage)), sep="\n\n")
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
        stderr.print("interrupted; continue a run with `distill resume RUN`, transcripts with the same command again")
        sys.exit(130)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    main()
