"""`distill.show`: one utterance, position by position."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from overlap.arguments import checked_arguments
from overlap.errors import UserError

from ..data.audio import AudioCache
from ..data.batch import AudioSource
from ..data.data_sets import Manifest, Purpose, read_for
from ..data.manifest import Utterance
from ..data.sources import read_utterances
from ..probing import show as views
from ..recipe import Decoding, SupportSettings
from ..scoring.pair import Pair
from .arguments import States, require_positive, resolve_local_pair


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
    """Return both models' prompts and tokens of one utterance, position by position.

    Args:
        pair: The two models, or a function that loads them once the manifest has been read.
        manifest: The utterance itself, or its manifest.
        utterance: Its id; by default the manifest's first.
        states: Whose transcript is scored.
        max_new_tokens: Longest transcript, in tokens; by default from the longest audio.
        max_seconds: Longer utterances are refused.

    Raises:
        FileNotFoundError, ManifestError: A manifest or a line that cannot be used; the message says why and what to do.
        UserError: No such utterance, or a teacher behind a server, which does not return all scores.
    """
    require_positive(max_seconds=max_seconds)
    decoding = Decoding(max_new_tokens=max_new_tokens)
    chosen = manifest if isinstance(manifest, Utterance) else _find_utterance(manifest, utterance)
    needs = "scoring the reference" if states == "reference" else ""
    data = read_for(Purpose(needs, is_scored=bool(needs)), [chosen], max_seconds=max_seconds)
    pair = resolve_local_pair(pair)
    (chosen,) = data.checked_one(pair.student, pair.teacher)
    source = AudioSource(AudioCache(max_seconds=max_seconds))
    return views.show(pair, source, chosen, SupportSettings(k=pair.k), decoding, states=states)


def _find_utterance(manifest: Manifest, id_: str | None) -> Utterance:
    utterances = read_utterances(manifest, check_audio=False) if isinstance(manifest, str | Path) else manifest
    where = str(manifest) if isinstance(manifest, str | Path) else "the list of utterances"
    if not utterances:
        raise UserError(f"{where} holds no utterance; give at least one")
    for one in utterances:
        if id_ in (None, one.id):
            return one
    raise UserError(f"{where} has no utterance {id_!r}; its first is {utterances[0].id!r}")
