"""`distill.probe`: measure support overlap of a pair on the student's rollouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from overlap.arguments import checked_arguments
from overlap.errors import UserError

from ..data.audio import AudioCache
from ..data.batch import AudioSource
from ..data.data_sets import Manifest, Purpose, read_for
from ..data.groups import check_fields, groups_by, required_groups
from ..probing import probe as probes
from ..probing.groups import readings_by_group
from ..probing.result import ProbeResult
from ..probing.round_trip import round_trip
from ..progress.display import observed
from ..progress.observer import Observer
from ..recipe import Decoding, SupportSettings
from ..scoring.pair import Pair
from .arguments import name_of, require_positive, resolve_pair


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
    groups: Sequence[str] = (),
    observer: Observer | None = None,
    quiet: bool = False,
) -> ProbeResult:
    """Measure support overlap on the student's rollouts.

    The teacher also transcribes the first 32 utterances, to report how many of these transcripts its tokenizer encodes
    to other tokens than it wrote.

    Args:
        pair: The two models, or a function that loads them once the manifest has been read.
        manifest: Audio to transcribe; nothing else is needed, or a prompt for text models.
        temperature: Temperature of the probabilities.
        max_new_tokens: Longest rollout, in tokens; by default from the longest audio.
        batch_size: Utterances in a batch.
        max_utterances: Use only the first ones.
        max_seconds: Longer utterances are refused.
        traced: Number of first utterances with a trace; None traces all, 0 none, which saves time and memory.
        groups: Fields of the manifest, such as `language`: every value with at least 20 utterances gets all readings of
            its own, see `ProbeResult.groups`.
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
    decoding = Decoding(max_new_tokens=max_new_tokens)
    support = SupportSettings(temperature=temperature)
    check_fields(groups)
    data = read_for(Purpose(first=max_utterances), manifest, max_seconds=max_seconds)
    required_groups(data.sets[0], groups, name_of(manifest), "groups")
    pair = resolve_pair(pair)
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
    by_group = readings_by_group(probed, [groups_by(utterances, field) for field in groups])
    return ProbeResult(sources, probed, trip, {u.id: u.text for u in utterances}, cached, by_group)
