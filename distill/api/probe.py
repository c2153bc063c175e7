"""`distill.probe`: measure support overlap of a pair on the student's rollouts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from overlap.arguments import checked_arguments
from overlap.errors import UserError

from ..data.audio import AudioCache
from ..data.batch import AudioSource
from ..data.data_sets import Manifest, Purpose, read_for
from ..data.groups import check_fields, groups_by, required_groups
from ..data.long_recordings import in_pieces, longest_piece
from ..normalize import normalizer as find_normalizer
from ..probing import probe as probes
from ..probing.groups import readings_by_group
from ..probing.no_speech import checked_clips, no_speech_reading
from ..probing.result import ProbeResult
from ..probing.round_trip import round_trip
from ..probing.windows import WindowStrata
from ..progress.display import observed
from ..progress.observer import Observer
from ..recipe import Decoding, NoSpeech, SupportSettings
from ..scoring.pair import Pair
from .arguments import name_of, require_positive, resolve_pair


@checked_arguments
def probe(
    pair: Pair | Callable[[], Pair],
    manifest: Manifest,
    *,
    temperature: float = 1.0,
    max_new_tokens: int | None = None,
    normalizer: str = "basic",
    batch_size: int = 16,
    max_utterances: int | None = None,
    max_seconds: float = 30.0,
    long: bool = False,
    traced: int | None = None,
    teacher_states: bool = True,
    no_speech: NoSpeech | None = None,
    groups: Sequence[str] = (),
    observer: Observer | None = None,
    quiet: bool = False,
) -> ProbeResult:
    """Measure support overlap on the student's rollouts, and on the teacher's transcripts.

    The latter say at which share of the teacher's ends the student finds the end likely
    (`teacher.student_end_likely.at_end`), and which positions are past the teacher's transcript. The teacher also
    transcribes the first 32 utterances once more, to report how many of these transcripts its tokenizer encodes to
    other tokens than it wrote.

    Args:
        pair: The two models, or a function that loads them once the manifest has been read.
        manifest: Audio to transcribe; nothing else is needed, or a prompt for text models.
        temperature: Temperature of the probabilities.
        max_new_tokens: Longest rollout, in tokens; by default from the longest audio.
        normalizer: Text normalizer under which transcripts are compared with the manifest's texts, if it has some, and
            words of clips without speech are counted.
        batch_size: Utterances in a batch.
        max_utterances: Use only the first ones.
        max_seconds: Longer utterances are refused.
        long: Cut recordings that are longer than `max_seconds` or a model's window at pauses (extra `long`), probe
            the pieces, and break the statistics down by window. Intervals are over recordings. Signal and calibration
            leave out recordings that are cut, because their pieces have no reference text.
        traced: Number of first utterances with a trace; None traces all, 0 none, which saves time and memory.
        teacher_states: Whether the teacher's transcripts are probed too, which takes about as long again.
        no_speech: Clips of silence and noise that both models transcribe; None reads none.
        groups: Fields of the manifest, such as `language`: every value with at least 20 utterances (if they are cut,
            recordings) gets all readings of its own, see `ProbeResult.groups`.
        observer: Is told of progress.
        quiet: Without an observer, show none.

    Raises:
        FileNotFoundError, ManifestError: A manifest or lines that cannot be used; the message says why and what to do.
        ServerError: No answer, or not what was asked for.
        UserError: A setting out of its range, or an unknown normalizer.
    """
    require_positive(batch_size=batch_size, max_utterances=max_utterances, max_seconds=max_seconds)
    if traced is not None and traced < 0:
        raise UserError(f"traced = {traced}: must be at least 0; None traces all")
    find_normalizer(normalizer)
    decoding = Decoding(max_new_tokens=max_new_tokens)
    support = SupportSettings(temperature=temperature)
    check_fields(groups)
    data = read_for(Purpose(first=max_utterances), manifest, max_seconds=math.inf if long else max_seconds)
    required_groups(data.sets[0], groups, name_of(manifest), "groups")
    pair = resolve_pair(pair)
    if pair.server is not None and temperature != 1.0:
        raise UserError("temperature: a server's log-probabilities are at temperature 1; leave it out")
    pieces, recordings = None, data.sets[0]
    source = AudioSource(AudioCache(max_seconds=max_seconds))
    with observed(observer, quiet=quiet) as watcher:
        if long:
            pieces = in_pieces(
                recordings,
                longest_piece((pair.student, pair.teacher), max_seconds),
                progress=lambda done, total: watcher.work("finding pauses", done, total),
            )
            data = replace(data, sets=(pieces.utterances,))
        utterances = data.checked_one(pair.student, pair.teacher)
        clips = checked_clips(no_speech or NoSpeech(), utterances, (pair.student, pair.teacher), "no_speech")
        measure = partial(
            probes.probe,
            pair,
            source,
            utterances,
            support.model_copy(update={"k": pair.k}),
            decoding,
            recordings={} if pieces is None else pieces.recording_of,
            batch_size=batch_size,
        )
        at_teacher = None
        if teacher_states:
            at_teacher = measure(
                states="teacher",
                progress=lambda done, total: watcher.work("probing teacher's transcripts", done, total),
            )
        probed = measure(
            teacher_rollouts=None if at_teacher is None else at_teacher.rollouts,
            normalizer=normalizer,
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
        without_speech = None
        if clips:
            without_speech = no_speech_reading(
                pair,
                AudioSource(AudioCache(max_mib=0.0, max_seconds=math.inf)),
                clips,
                decoding,
                normalizer,
                batch_size=batch_size,
                progress=lambda done, total: watcher.work("clips without speech", done, total),
            )
    strata = None if pieces is None else WindowStrata.from_probe(probed, pieces)
    sources = {"student": pair.student.name, "teacher": pair.teacher.name, "manifest": name_of(manifest)}
    cached = None
    if pair.server is not None:
        sources["teacher_url"] = pair.server.client.url
        if (cache := pair.server.cache) is not None:
            cached = cache.hits, cache.hits + cache.misses
    grouped = utterances if pieces is None else pieces.recordings
    by_group = readings_by_group(probed, [groups_by(grouped, field) for field in groups])
    references = {u.id: u.text for u in utterances}
    return ProbeResult(sources, probed, trip, references, cached, by_group, without_speech, strata, at_teacher)
