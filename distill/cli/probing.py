"""Verbs that measure a pair of models: `probe`, `show`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from overlap.errors import UserError

from ..locations import require_places, require_writable
from ..recipe import NoSpeech, Server
from .app import (
    AS_THEY_ARE,
    Amount,
    Count,
    JsonFlag,
    Loading,
    app,
    print_json,
    refuse_to_replace_audio,
    require_server,
    stderr,
)
from .exit_codes import ExitCode


@app.command
def probe(
    *,
    student: str | None = None,
    teacher: str,
    manifest: str,
    k: Count = 32,
    temperature: Amount = 1.0,
    max_new_tokens: Count | None = None,
    normalizer: str = "basic",
    batch_size: Count = 16,
    max_utterances: Count | None = None,
    max_seconds: Amount = 30.0,
    long: bool = False,
    output: Path | None = None,
    teacher_url: str | None = None,
    server: Annotated[Server, Parameter(name="*")] = Server(),  # noqa: B008 (frozen)
    preflight: bool = False,
    panel: bool = False,
    group: tuple[str, ...] = (),
    teacher_states: bool = True,
    no_speech: Annotated[NoSpeech, Parameter(name="*", group="Without speech")] = NoSpeech(),  # noqa: B008 (frozen)
    loading: Loading = AS_THEY_ARE,
    json_: JsonFlag = False,
) -> int:
    """Measure support overlap of two models on a manifest, on the student's rollouts and the teacher's transcripts.

    Five numbers to read first and a verdict come after the table. Where the manifest has texts, signal (does the
    teacher's word tell right transcripts from wrong ones?) and calibration follow. The teacher also transcribes up to
    32 of the utterances, to report how many of these transcripts its tokenizer encodes to other tokens than it wrote.

    Args:
        student: Directory or Hub name of the model that writes; a preflight needs none.
        teacher: Directory or Hub name of the model that scores; with --teacher-url, of its tokenizer.
        manifest: JSON lines, or a data set such as hf:NAME:CONFIG:SPLIT; only audio is needed (text models:
            only a prompt).
        k: Size of the supports.
        temperature: Temperature of the probabilities.
        max_new_tokens: Longest rollout, in tokens; by default from the longest audio.
        normalizer: Text normalizer under which transcripts are compared with the manifest's texts, if it has some, and
            words of clips without speech are counted.
        batch_size: Utterances in a batch.
        max_utterances: Use only the first ones; the default is all, or 8 for a preflight.
        max_seconds: Longer utterances are refused.
        long: Cut recordings that are longer than --max-seconds or a model's window at pauses, probe the pieces, and
            break the statistics down by window: first, middle, last. Intervals are over recordings; signal and
            calibration leave out recordings that are cut. It needs the extra "long".
        output: Parquet file for all that was measured; distill report and analysis.load read it. Its rows are traces,
            one per utterance.
        teacher_url: A server (vLLM, SGLang) that runs the teacher. Statistics that cannot be computed from its top-m
            tokens are reported as lower and upper bounds.
        server: Settings of the server's requests.
        preflight: Report what the server supports, its speed, and how far it deviates from local weights; the exit code
            is 1 on a problem.
        panel: Also print which positions other systems' rules would keep when they weight the loss, and how alike they
            choose; --json always has it. It needs a local teacher.
        group: A field of the manifest, such as language, accent or speaker: also report every value of it that has at
            least 20 utterances. May be given more than once.
        teacher_states: Also probe the teacher's transcripts, to see at which share of their ends the student finds the
            end likely; it takes about as long again.
        no_speech: Clips of silence and noise that both models also transcribe; off unless their numbers are given.
        loading: How the models are loaded.
        json_: Print one JSON object to standard output and nothing else there.
    """
    if preflight and teacher_url is None:
        raise UserError("--preflight checks a server: give its --teacher-url")
    if student is None and not preflight:
        raise UserError("--student is missing: the model whose rollouts are measured")
    if preflight and group:
        raise UserError("--group: a preflight measures no overlap; leave it out")
    require_server(server, teacher_url)
    if preflight and no_speech.n_clips:
        raise UserError("--preflight transcribes no clips without speech; leave out --silence and --noise")
    if preflight and long:
        raise UserError("--preflight takes the first utterances as they are; leave out --long")
    if not no_speech.n_clips and no_speech != NoSpeech():
        raise UserError("there are no clips without speech to set: give --silence or --noise, the number of clips")
    if teacher_url is not None and panel:
        raise UserError(
            "--panel: rules read more of a teacher than a server shows; leave it out, or remove --teacher-url"
        )
    if teacher_url is not None and temperature != 1.0:
        raise UserError("--temperature: a server's log-probabilities are at temperature 1; leave it out")
    require_places(manifests={"--manifest": manifest}, models={"--student": student, "--teacher": teacher})
    if output:
        inputs = {"--manifest": manifest, "--student": student, "--teacher": teacher}
        require_writable(output, "--output", inputs=inputs)
        refuse_to_replace_audio(output, manifest)
    from .. import api

    how = loading.arguments
    if preflight:
        assert teacher_url is not None
        found = api.preflight(
            teacher,
            manifest,
            teacher_url=teacher_url,
            server=server,
            k=k,
            dtype=loading.dtype,
            device=how["device"],
            max_new_tokens=max_new_tokens,
            max_utterances=max_utterances,
            max_seconds=max_seconds,
        )
        if json_:
            print_json(
                {"student": student, "teacher": teacher, "manifest": manifest, "teacher_url": found.url}
                | found.to_dict()
            )
        else:
            print(found)
        return ExitCode.MISTAKE if found.problems else ExitCode.DONE
    assert student is not None
    result = api.probe(
        partial(api.load_pair, student, teacher, k=k, teacher_url=teacher_url, server=server, **how),
        manifest,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        normalizer=normalizer,
        batch_size=batch_size,
        max_utterances=max_utterances,
        max_seconds=max_seconds,
        long=long,
        traced=None if output else 0,
        teacher_states=teacher_states,
        no_speech=no_speech,
        groups=group,
    )
    if json_:
        print_json(result.to_dict())
    else:
        print(*((result, result.panel) if panel else (result,)), sep="\n\n")
    if output:
        result.write(output)
        if not json_:
            see = f"distill report {output} -o report.html"
            stderr.print(f"trace of {len(result.traces)} utterances: {output}; see it: {see}", highlight=False)
    if result.cached is not None:
        stderr.print("{} of {} answers from {}".format(*result.cached, server.cache))
    return ExitCode.DONE


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
    """Show both models' prompts and tokens of one utterance, position by position, to check that a pair fits.

    Args:
        student: Directory or Hub name of the model that defines the positions.
        teacher: Directory or Hub name of the model that scores.
        manifest: JSON lines, or a data set such as hf:NAME:CONFIG:SPLIT.
        utterance: Id of the utterance; by default the manifest's first.
        states: Whose transcript is scored.
        k: Size of the supports.
        max_new_tokens: Longest transcript, in tokens; by default from the longest audio.
        max_seconds: Longer utterances are refused.
        loading: How the models are loaded.
        json_: Print one JSON object to standard output and nothing else there.
    """
    require_places(manifests={"--manifest": manifest}, models={"--student": student, "--teacher": teacher})
    from .. import api

    view = api.show(
        partial(api.load_pair, student, teacher, k=k, **loading.arguments),
        manifest,
        utterance,
        states=states,
        max_new_tokens=max_new_tokens,
        max_seconds=max_seconds,
    )
    if json_:
        print_json(view.to_dict())
    else:
        print(view)
