"""`distill.score`: both models' logits at every position of transcripts."""

from __future__ import annotations

from collections.abc import Callable

from overlap.arguments import checked_arguments

from ..data.audio import AudioCache
from ..data.batch import AudioSource
from ..data.data_sets import Manifest, Purpose, read_for
from ..limits import with_token_limit
from ..probing import probe as probes
from ..recipe import Decoding, SupportSettings
from ..scoring.local import LogitsScores
from ..scoring.pair import Pair
from ..scoring.scores import score as score_with
from .arguments import States, require_positive, resolve_local_pair


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
    """Return both models' logits at every position of transcripts, for your own statistics.

    All of them are in memory at once, [utterances, positions, vocabulary]: use it for up to some hundred short
    utterances, or for one batch.

    Args:
        pair: The two models, or a function that loads them once the manifest has been read.
        manifest: Audio to transcribe.
        states: Whose transcripts are scored.
        temperature: Of the probabilities in the result's statistics.
        max_new_tokens: Longest transcript, in tokens; by default from the longest audio.
        max_utterances: Use only the first ones.
        max_seconds: Longer utterances are refused.

    Returns:
        `student_logits`, `teacher_logits`, the `transcripts`, which positions are `used`, and the `funnel`.

    Raises:
        FileNotFoundError, ManifestError: A manifest or lines that cannot be used; the message says why and what to do.
        UserError: A teacher behind a server, which does not return all scores.
    """
    require_positive(max_utterances=max_utterances, max_seconds=max_seconds)
    decoding = Decoding(max_new_tokens=max_new_tokens)
    support = SupportSettings(temperature=temperature)
    needs = "scoring the references" if states == "reference" else ""
    data = read_for(Purpose(needs, first=max_utterances, is_scored=bool(needs)), manifest, max_seconds=max_seconds)
    pair = resolve_local_pair(pair)
    utterances = data.checked_one(pair.student, pair.teacher)
    batch = AudioSource(AudioCache(max_seconds=max_seconds)).batch(utterances)
    transcripts = probes.write_transcripts(pair, batch, states, with_token_limit(decoding, utterances))
    return score_with(LogitsScores, pair, batch, transcripts, support.model_copy(update={"k": pair.k}))
