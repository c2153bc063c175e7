"""Verbs that look at a pair of models: `probe`, `show`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ..display import display
from ..places import require_places, require_writable, spare
from ..recipe import Decoding, Server, Support, Teacher
from .app import AS_THEY_ARE, Amount, Count, JsonFlag, Loading, app, print_json, require_server, stderr, write_rows
from .exit_codes import ExitCode

if TYPE_CHECKING:
    from ..data.batch import AudioSource
    from ..data.manifest import Utterance
    from ..probing.probe import StateProbe
    from ..probing.round_trip import RoundTrip
    from ..teacher import ServedTeacher

PREFLIGHT_CLIPS = 8


@app.command
def probe(
    *,
    student: str | None = None,
    teacher: str,
    manifest: str,
    k: Count = 32,
    temperature: Amount = 1.0,
    max_new_tokens: Count | None = None,
    batch_size: Count = 16,
    max_utterances: Count | None = None,
    max_seconds: Amount = 30.0,
    output: Path | None = None,
    teacher_url: str | None = None,
    server: Annotated[Server, Parameter(name="*")] = Server(),  # noqa: B008 (frozen)
    preflight: bool = False,
    loading: Loading = AS_THEY_ARE,
    json_: JsonFlag = False,
) -> int:
    """Support overlap of two models over a manifest, at the states of the student's own rollouts.

    Ends with the five numbers to read first and what they come to. The teacher also transcribes up to 32 of the
    utterances: how many of its own transcripts its tokenizer cuts otherwise than it wrote them is told beside.

    Args:
        student: Directory or Hub name of the model that writes; a preflight needs none.
        teacher: Directory or Hub name of the model that scores; with --teacher-url of its tokenizer.
        manifest: JSON lines, or a data set such as hf:NAME:CONFIG:SPLIT; only audio is needed, or a prompt for text
            models.
        k: Size of the top-k sets.
        temperature: Of the probabilities.
        max_new_tokens: Longest rollout, in tokens; from the longest audio unless told.
        batch_size: Utterances at once.
        max_utterances: Use the first so many; a preflight uses 8 unless told.
        max_seconds: Longer utterances are refused.
        output: Write a trace there (Parquet, a row an utterance), which distill report and analysis.load open.
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
    require_server(server, teacher_url)
    served = Teacher(model=teacher, url=teacher_url, server=server)
    if teacher_url is not None and temperature != 1.0:
        raise ValueError("--temperature: a server's log-probabilities are at temperature 1; leave it out")
    require_places(manifests={"--manifest": manifest}, models={"--student": student, "--teacher": teacher})
    if output:
        inputs = {"--manifest": manifest, "--student": student, "--teacher": teacher}
        require_writable(output, "--output", inputs=inputs)
    from ..data.audio import AudioCache
    from ..data.batch import AudioSource, check_inputs
    from ..data.checks import Use, check_audio, check_models
    from ..data.findings import refuse
    from ..data.labels import checked_labels
    from ..data.manifest import audio_files
    from ..data.sources import read_utterances
    from ..limits import token_limit
    from ..pair.pair import Pair
    from ..probing.probe import probe as probe_pair
    from ..probing.round_trip import round_trip
    from ..teacher import ServedTeacher, load_served_teacher
    from ..teacher.errors import shown

    everything = read_utterances(manifest, check_audio=False)
    utterances = everything[: max_utterances or (PREFLIGHT_CLIPS if preflight else None)]
    if output:
        spare(output, "--output", audio_files(utterances))
    refuse(check_audio(utterances, max_seconds, decode=True))
    source = AudioSource(AudioCache(max_seconds=max_seconds))
    scorer = loading.load(teacher) if teacher_url is None else load_served_teacher(served, k)
    sources = {"student": student, "teacher": teacher, "manifest": manifest}
    sources |= {} if teacher_url is None else {"teacher_url": shown(teacher_url)}
    if preflight:
        assert isinstance(scorer, ServedTeacher)
        return _preflight(scorer, source, utterances, k, max_new_tokens or token_limit(utterances), sources, json_)
    assert student is not None
    pair = Pair.of(loading.load(student), scorer, k)
    utterances = checked_labels(utterances, pair.student, needed=False)
    check_inputs(utterances, pair.student, pair.teacher)
    refuse(check_models(Use(utterances, (pair.student, pair.teacher))))
    with display() as progress:
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
        trip = round_trip(
            scorer,
            source,
            utterances,
            Decoding(max_new_tokens=max_new_tokens),
            batch_size=batch_size,
            progress=lambda done, total: progress.work("teacher's tokens", done, total),
        )
    _print_probe(result, trip, sources, len(utterances), json_)
    if output:
        write_rows(output, result.traces, {"probe": sources | result.about})
        if not json_:
            see = f"distill report {output} -o report.html"
            stderr.print(f"trace of {len(result.traces)} utterances: {output}; see it: {see}", highlight=False)
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
    from ..probing.preflight import preflight as ask_server

    with display() as progress:
        found = ask_server(
            teacher,
            source,
            utterances,
            k,
            max_new_tokens=max_new_tokens,
            progress=lambda done, total: progress.work("asking", done, total),
        )
    if as_json:
        print_json(sources | found.to_dict())
    else:
        print(found)
    return ExitCode.MISTAKE if found.problems else ExitCode.DONE


@app.command
def show(
    *,
    student: str,
    teacher: str,
    manifest: str,
    utterance: str | None = None,
    states: Literal["student", "teacher", "reference"] = "student",
    k: Count = 32,
    max_new_tokens: Count | None = None,
    max_seconds: Amount = 30.0,
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
        max_new_tokens: Longest transcript, in tokens; from the longest audio unless told.
        max_seconds: Longer utterances are refused.
        loading: How the models are loaded.
        json_: Print one JSON object to standard output and nothing else there.
    """
    require_places(manifests={"--manifest": manifest}, models={"--student": student, "--teacher": teacher})
    from ..data.audio import AudioCache
    from ..data.batch import AudioSource, check_inputs
    from ..data.checks import Use, check_audio, check_models
    from ..data.findings import refuse
    from ..data.labels import checked_labels
    from ..data.manifest import require_text
    from ..data.sources import read_utterances
    from ..pair.pair import Pair
    from ..probing.show import show as show_utterance

    utterances = read_utterances(manifest, check_audio=False)
    chosen = [u for u in utterances if utterance in (None, u.id)][:1]
    if not chosen:
        raise ValueError(f"{manifest} has no utterance {utterance!r}; its first is {utterances[0].id!r}")
    if states == "reference":
        require_text(chosen, "scoring the reference")
    refuse(check_audio(chosen, max_seconds, decode=True))
    pair = Pair.of(loading.load(student), loading.load(teacher), k)
    chosen = checked_labels(chosen, pair.student, needed=states == "reference")
    check_inputs(chosen, pair.student, pair.teacher)
    refuse(check_models(Use(chosen, (pair.student, pair.teacher), pair.student if states == "reference" else None)))
    view = show_utterance(
        pair,
        AudioSource(AudioCache(max_seconds=max_seconds)),
        chosen[0],
        Support(k=k),
        Decoding(max_new_tokens=max_new_tokens),
        states=states,
    )
    if json_:
        print_json(view.to_dict())
    else:
        print(view)


def _print_probe(result: StateProbe, trip: RoundTrip, sources: dict[str, Any], utterances: int, as_json: bool) -> None:
    reading = result.first_reading
    if as_json:
        tree = sources | {"summary": result.estimates.to_dict(), "funnel": result.funnel.to_dict()}
        tree["first_reading"] = reading.to_dict()
        tree["teacher_round_trip"] = trip.to_dict()
        if result.coverage:
            sides = {"student": result.coverage.student, "teacher": result.coverage.teacher}
            tree["vocabulary"] = {name: {"ids": side.ids, "mapped": side.mapped} for name, side in sides.items()}
        if result.bounds:
            tree["bounds"] = result.bounds.to_summary().to_dict()
        print_json(tree)
        return
    print(*filter(None, (result.estimates, result.bounds, result.funnel, result.coverage)), sep="\n\n")
    print(f"\nteacher: {trip.line}")
    named = [f"{name.replace('_', ' ')} {value}" for name, value in sources.items()]
    print(f"\n{', '.join(named)}: {utterances:,} utterances, on the student's own transcripts\n\n{reading}")
