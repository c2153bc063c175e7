"""Functions of a pair of models: load and probe it, show single utterances, and return all of its scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from overlap.arguments import checked_arguments, require_kind
from overlap.errors import UserError

from ..data.audio import AudioCache
from ..data.batch import AudioSource
from ..data.manifest import Utterance
from ..data.reading import Manifest, Purpose, read_for
from ..data.sources import read_utterances
from ..limits import settled
from ..probing import probe as probes
from ..probing import show as views
from ..probing.result import ProbeResult
from ..probing.round_trip import round_trip
from ..progress.display import observed
from ..progress.observer import Observer
from ..recipe import Decoding, Server, SupportSettings
from ..scoring.local import LogitsScores
from ..scoring.pair import Pair
from ..scoring.scores import score as score_with
from ..teacher import ServedTeacher
from .arguments import (
    Model,
    PromptFormat,
    loaded,
    loading,
    name_of,
    require_models,
    require_positive,
    section,
    served_teacher,
)

States = Literal["student", "teacher", "reference"]


@checked_arguments
def load_pair(
    student: Model,
    teacher: Model | ServedTeacher,
    *,
    k: int = 32,
    teacher_url: str | None = None,
    server: Server | None = None,
    trust_remote_code: bool = False,
    prompt_format: PromptFormat | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    timestamps: bool = False,
) -> Pair:
    """Load two models to compare their distributions.

    Args:
        student: The model that writes.
        teacher: The model that scores; with `teacher_url`, where its tokenizer is.
        k: Size of the top-k sets.
        teacher_url: A server (vLLM, SGLang) that runs the teacher.
        server: Settings of the server's requests.
        trust_remote_code: Run Python code of the checkpoints, as Ark-ASR needs; read it first.
        prompt_format: How text models read prompts; None uses the chat template if there is one.
        chat_template_kwargs: More variables of text models' chat templates.
        timestamps: Let Whisper write timestamps.

    Raises:
        FileNotFoundError: A folder or a model of the demo does not exist.
        ModelError, ServerError: A model that cannot be loaded or asked.
        PairError: They share no token, or k is larger than the tokens that a transcript can hold.
    """
    require_models(student=student, teacher=teacher)
    require_positive(k=k)
    how = loading(trust_remote_code, prompt_format, chat_template_kwargs, timestamps)
    if teacher_url is None and server in (None, Server()):
        scorer = loaded(teacher, how)
    else:
        scorer = served_teacher(teacher, teacher_url, server, k)
    return Pair.from_models(loaded(student, how), scorer, k)


@checked_arguments
def probe(
    pair: Pair | Callable[[], Pair],
    manifest: Manifest,
    *,
    temperature: float = 1.0,
    max_new_tokens: int | None = None,
    batch_size: int = 16,
    max_utterances: int | None = None,
    max_seconds: float = 30.0,
    traced: int | None = None,
    observer: Observer | None = None,
    quiet: bool = False,
) -> ProbeResult:
    """Measure support overlap on the student's own rollouts.

    The teacher also transcribes the first 32 utterances, to report how many of its own transcripts its tokenizer
    encodes to other tokens than it wrote.

    Args:
        pair: The two models, or a function that loads them once the manifest has been read.
        manifest: Audio to transcribe; nothing else is needed, or a prompt for text models.
        temperature: Temperature of the probabilities.
        max_new_tokens: Longest rollout, in tokens; by default from the longest audio.
        batch_size: Utterances in a batch.
        max_utterances: Use only the first ones.
        max_seconds: Longer utterances are refused.
        traced: Number of first utterances with a trace; None traces all, 0 none, which saves time and memory.
        observer: Is told of progress.
        quiet: Without an observer, show none.

    Raises:
        FileNotFoundError, ManifestError: A manifest or lines that cannot be used; the message says why and what to do.
        ServerError: No answer, or not what was asked for.
        UserError: A setting out of its range.
    """
    require_positive(batch_size=batch_size, max_utterances=max_utterances, max_seconds=max_seconds)
    if traced is not None and traced < 0:
        raise UserError(f"traced = {traced}: must be at least 0; None traces all")
    decoding = section(Decoding, max_new_tokens=max_new_tokens)
    support = section(SupportSettings, temperature=temperature)
    data = read_for(Purpose(first=max_utterances), manifest, max_seconds=max_seconds)
    pair = _called(pair)
    if pair.server is not None and temperature != 1.0:
        raise UserError("temperature: a server's log-probabilities are at temperature 1; leave it out")
    utterances = data.checked_one(pair.student, pair.teacher)
    source = AudioSource(AudioCache(max_seconds=max_seconds))
    with observed(observer, quiet=quiet) as watcher:
        probed = probes.probe(
            pair,
            source,
            utterances,
            support.model_copy(update={"k": pair.k}),
            decoding,
            batch_size=batch_size,
            traced=len(utterances) if traced is None else traced,
            progress=lambda done, total: watcher.work("probing", done, total),
        )
        trip = round_trip(
            pair.teacher,
            source,
            utterances,
            decoding,
            batch_size=batch_size,
            progress=lambda done, total: watcher.work("teacher's tokens", done, total),
        )
    sources = {"student": pair.student.name, "teacher": pair.teacher.name, "manifest": name_of(manifest)}
    cached = None
    if pair.server is not None:
        sources["teacher_url"] = pair.server.client.url
        if (cache := pair.server.cache) is not None:
            cached = cache.hits, cache.hits + cache.misses
    return ProbeResult(sources, probed, trip, {u.id: u.text for u in utterances}, cached)


@checked_arguments
def show(
    pair: Pair | Callable[[], Pair],
    manifest: Utterance | Manifest,
    utterance: str | None = None,
    *,
    states: States = "student",
    max_new_tokens: int | None = None,
    max_seconds: float = 30.0,
) -> views.View:
    """Both models' prompts and tokens of one utterance, position by position.

    Args:
        pair: The two models, or a function that loads them once the manifest has been read.
        manifest: The utterance itself, or where it is.
        utterance: Its id; by default the manifest's first.
        states: Whose transcript is scored.
        max_new_tokens: Longest transcript, in tokens; by default from the longest audio.
        max_seconds: Longer utterances are refused.

    Raises:
        FileNotFoundError, ManifestError: A manifest or a line that cannot be used; the message says why and what to do.
        UserError: No such utterance, or a teacher behind a server, which does not show all of its scores.
    """
    require_positive(max_seconds=max_seconds)
    decoding = section(Decoding, max_new_tokens=max_new_tokens)
    chosen = manifest if isinstance(manifest, Utterance) else _chosen(manifest, utterance)
    needs = "scoring the reference" if states == "reference" else ""
    data = read_for(Purpose(needs, is_scored=bool(needs)), [chosen], max_seconds=max_seconds)
    pair = _with_local_teacher(pair)
    (chosen,) = data.checked_one(pair.student, pair.teacher)
    source = AudioSource(AudioCache(max_seconds=max_seconds))
    return views.show(pair, source, chosen, SupportSettings(k=pair.k), decoding, states=states)


@checked_arguments
def score(
    pair: Pair | Callable[[], Pair],
    manifest: Manifest,
    *,
    states: States = "student",
    temperature: float = 1.0,
    max_new_tokens: int | None = None,
    max_utterances: int | None = None,
    max_seconds: float = 30.0,
) -> LogitsScores:
    """Both models' logits at every position of transcripts, for your own statistics.

    All of them are in memory at once, [utterances, positions, vocabulary]: for some hundred short utterances, or one
    batch of many.

    Args:
        pair: The two models, or a function that loads them once the manifest has been read.
        manifest: Audio to transcribe.
        states: Whose transcripts are scored.
        temperature: Of the probabilities that the result's own statistics are of.
        max_new_tokens: Longest transcript, in tokens; by default from the longest audio.
        max_utterances: Use only the first ones.
        max_seconds: Longer utterances are refused.

    Returns:
        `student_logits`, `teacher_logits`, the `transcripts`, which positions are `used`, and the `funnel`.

    Raises:
        FileNotFoundError, ManifestError: A manifest or lines that cannot be used; the message says why and what to do.
        UserError: A teacher behind a server, which does not show all of its scores.
    """
    require_positive(max_utterances=max_utterances, max_seconds=max_seconds)
    decoding = section(Decoding, max_new_tokens=max_new_tokens)
    support = section(SupportSettings, temperature=temperature)
    needs = "scoring the references" if states == "reference" else ""
    data = read_for(Purpose(needs, first=max_utterances, is_scored=bool(needs)), manifest, max_seconds=max_seconds)
    pair = _with_local_teacher(pair)
    utterances = data.checked_one(pair.student, pair.teacher)
    batch = AudioSource(AudioCache(max_seconds=max_seconds)).batch(utterances)
    transcripts = probes.write_transcripts(pair, batch, states, settled(decoding, utterances))
    return score_with(LogitsScores, pair, batch, transcripts, support.model_copy(update={"k": pair.k}))


def _chosen(manifest: Manifest, id_: str | None) -> Utterance:
    utterances = read_utterances(manifest, check_audio=False) if isinstance(manifest, str | Path) else manifest
    if not utterances:
        raise UserError(f"{name_of(manifest)} holds no utterance; give at least one")
    for one in utterances:
        if id_ in (None, one.id):
            return one
    raise UserError(f"{name_of(manifest)} has no utterance {id_!r}; its first is {utterances[0].id!r}")


def _called(pair: Pair | Callable[[], Pair]) -> Pair:
    """The pair, loaded if it is a function."""
    if isinstance(pair, Pair):
        return pair
    found = pair()
    require_kind("pair, from the function given", found, Pair)
    return found


def _with_local_teacher(pair: Pair | Callable[[], Pair]) -> Pair:
    pair = _called(pair)
    if pair.server is not None:
        raise UserError(
            f"the teacher {pair.teacher.name!r} is behind a server, which returns only its best tokens; load its "
            "weights, or probe the pair"
        )
    return pair
