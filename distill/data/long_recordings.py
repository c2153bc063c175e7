"""Recordings longer than a model's window: cut into pieces at pauses, and their transcripts joined again."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from overlap.errors import UserError
from overlap.estimates.number_formatting import plural

from ..models import Transcriber
from ..models.base import SAMPLING_RATE
from .audio import AudioError, duration, load_audio
from .manifest import Utterance
from .pauses import Span, speech_in

PIECE = "piece"
"""Extra field of a piece: its recording, its number of how many, and where it ends."""
SPARE_SECONDS = 0.01
"""By which pieces are shorter than the window, because resampling may add a sample."""
EARLIEST = 0.5
"""Share of the window before which it is not cut while there is a later pause."""
_DECIMALS = 3
_SHORTEST_SECONDS = 1.0

Ends = Literal["pause", "window", "end"]
"""Where a piece ends: in a pause, in the middle of speech because the window is full, or with the recording."""


@dataclass(frozen=True)
class Cut:
    """A piece of a recording.

    Attributes:
        begin: In seconds from the recording's begin.
        end: Likewise.
        ends: What it ends in.
        has_speech: Whether somebody speaks in it.
    """

    begin: float
    end: float
    ends: Ends
    has_speech: bool


def cuts(seconds: float, speech: Sequence[Span], longest: float) -> list[Cut]:
    """Cut a recording into pieces of at most `longest` seconds that leave nothing out.

    Each piece ends in the middle of the longest pause of the second half of its window, or of what of that pause the
    window holds; if there is none, in the last pause before; if nobody pauses, where the window ends.

    Args:
        seconds: Duration of the recording.
        speech: Spans of speech, in order.
        longest: Duration of the window, in seconds.

    Example:
        >>> [(cut.begin, cut.end, cut.ends) for cut in cuts(70.0, [(0.0, 24.0), (26.0, 70.0)], 30.0)]
        [(0.0, 25.0, 'pause'), (25.0, 55.0, 'window'), (55.0, 70.0, 'end')]
    """
    edges = [0.0, *(edge for span in speech for edge in span), seconds]
    pauses = [(low, high) for low, high in zip(edges[::2], edges[1::2], strict=True) if high > low]
    found: list[Cut] = []
    begin = 0.0
    while seconds - begin > longest:
        end, ends = _end(begin, begin + longest, pauses)
        found.append(Cut(begin, end, ends, _speaks(begin, end, speech)))
        begin = end
    return [*found, Cut(begin, seconds, "end", _speaks(begin, seconds, speech))]


def _end(begin: float, limit: float, pauses: Sequence[Span]) -> tuple[float, Ends]:
    inside = [(max(low, begin), min(high, limit)) for low, high in pauses if low < limit and high > begin]
    middles = {(low + high) / 2: high - low for low, high in inside}
    late = {at: size for at, size in middles.items() if at >= begin + EARLIEST * (limit - begin)}
    if late:
        return max(late, key=lambda at: (late[at], at)), "pause"
    # A pause at the very begin would leave an empty piece.
    early = [at for at in middles if at > begin + _SHORTEST_SECONDS]
    return (max(early), "pause") if early else (limit, "window")


def _speaks(begin: float, end: float, speech: Sequence[Span]) -> bool:
    return any(low < end and high > begin for low, high in speech)


@dataclass(frozen=True)
class Pieces:
    """A set with its long recordings in pieces.

    Attributes:
        recordings: The set, as it was.
        utterances: What models read: utterances that fit, and pieces with speech, in order. A piece has no text, and
            its place in the field `piece`.
        names: Ids of the pieces of every recording, by its id; of an utterance that fits, its own id.
        n_cut: Recordings that were cut.
        n_pause: Cuts at pauses.
        n_window: Cuts in the middle of speech.
        n_silent: Pieces without speech, which are left out.
        silent_seconds: Their duration together.
        longest: The longest piece allowed, in seconds.
        unreadable: Ids of long recordings that cannot be decoded and are left whole.
    """

    recordings: tuple[Utterance, ...]
    utterances: tuple[Utterance, ...]
    names: Mapping[str, tuple[str, ...]]
    n_cut: int
    n_pause: int
    n_window: int
    n_silent: int
    silent_seconds: float
    longest: float
    unreadable: frozenset[str] = frozenset()

    @property
    def n_pieces(self) -> int:
        """Pieces of recordings that were cut, those left out not counted."""
        return sum(PIECE in utterance.extra for utterance in self.utterances)

    @property
    def places(self) -> dict[str, tuple[int, int]]:
        """Number, from 0, and count of the pieces of its recording, by id of what models read."""
        return {name: (i, len(names)) for names in self.names.values() for i, name in enumerate(names)}

    @property
    def recording_of(self) -> dict[str, str]:
        """The recording of each piece; utterances that fit are not in it."""
        return {name: recording for recording, names in self.names.items() for name in names if name != recording}

    @property
    def n_with_text(self) -> int:
        """Recordings that have a text."""
        return sum(recording.text is not None for recording in self.recordings)

    @property
    def n_without_reference(self) -> int:
        """Recordings whose text is no reference for what models read, because they were cut."""
        return sum(one.text is not None and self.names[one.id] != (one.id,) for one in self.recordings)

    def stitched(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Return the transcript of every recording: those of its pieces in order, with spaces between.

        Args:
            texts: By id of what models read; pieces without a text add nothing.
        """
        return {
            recording: " ".join(text for name in names if (text := texts.get(name, "").strip()))
            if names != (recording,)
            else texts.get(recording, "")
            for recording, names in self.names.items()
        }

    @property
    def line(self) -> str:
        """What was cut where, in a sentence; empty if nothing was."""
        if not self.n_cut:
            return ""
        said = (
            f"{self.n_cut:,} of {len(self.recordings):,} recordings are longer than {self.longest:g} s and were cut "
            f"into {self.n_pieces:,} pieces: {self.n_pause:,} {plural('cut', self.n_pause)} at pauses"
        )
        if self.n_window:
            said += f", {self.n_window:,} in the middle of speech without a pause, where a word may be lost"
        if self.n_silent:
            said += f"; {self.n_silent:,} more without speech, {self.silent_seconds:.1f} s, were left out"
        if self.unreadable:
            said += f"; {len(self.unreadable):,} more cannot be decoded and were not cut"
        return said

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON can hold them."""
        counted = ("n_cut", "n_pieces", "n_pause", "n_window", "n_silent", "silent_seconds", "longest")
        return {"n_recordings": len(self.recordings), **{name: getattr(self, name) for name in counted}}


def longest_piece(models: Iterable[Transcriber], max_seconds: float) -> float:
    """Return the longest audio that all models take, in seconds.

    Args:
        models: That read the audio.
        max_seconds: The longest utterance that the caller allows.
    """
    windows = [model.limits.window_seconds for model in models]
    return min([max_seconds, *(window for window in windows if window is not None)])


def in_pieces(
    utterances: Sequence[Utterance],
    longest: float,
    *,
    keep_unreadable: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Pieces:
    """Cut the recordings of a set that are longer than a limit.

    Args:
        utterances: The set; those without audio, or whose audio cannot be opened, stay as they are.
        longest: The limit in seconds.
        keep_unreadable: Leave a long recording whole if it cannot be decoded, for a caller that drops it.
        progress: Called with recordings done and all that are to be cut.

    Raises:
        AudioError: A long recording that cannot be decoded, unless such ones are kept.
        MissingExtraError: There are long recordings, and the extra `long` is not installed.
        UserError: No utterance or piece is left, or a limit below a second.
    """
    if not longest > _SHORTEST_SECONDS:
        raise UserError(
            f"max_seconds = {longest:g}: pieces of recordings take more than {_SHORTEST_SECONDS:g} s; raise it"
        )
    seconds = [_seconds(utterance) for utterance in utterances]
    long = {i for i, length in enumerate(seconds) if length > longest}
    read: list[Utterance] = []
    names: dict[str, tuple[str, ...]] = {}
    counts: Counter[Ends] = Counter()
    unreadable: set[str] = set()
    n_silent = done = 0
    silent_seconds = 0.0
    for i, utterance in enumerate(utterances):
        parts: list[Utterance] = [utterance]
        if i in long:
            try:
                waveform = load_audio(utterance, sampling_rate=SAMPLING_RATE, max_seconds=math.inf)
            except AudioError:
                if not keep_unreadable:
                    raise
                unreadable.add(utterance.id)
            else:
                found = cuts(seconds[i], speech_in(waveform), longest - SPARE_SECONDS)
                spoken = [cut for cut in found if cut.has_speech]
                silent_seconds += sum(cut.end - cut.begin for cut in found if not cut.has_speech)
                n_silent += len(found) - len(spoken)
                counts.update(cut.ends for cut in found)
                parts = [_piece(utterance, cut, number, len(spoken)) for number, cut in enumerate(spoken)]
            done += 1
            if progress:
                progress(done, len(long))
        names[utterance.id] = tuple(part.id for part in parts)
        read += parts
    if not read:
        raise UserError("no recording has speech, so nothing is left to transcribe; check the audio")
    return Pieces(
        tuple(utterances),
        tuple(read),
        names,
        len(long) - len(unreadable),
        counts["pause"],
        counts["window"],
        n_silent,
        silent_seconds,
        longest,
        frozenset(unreadable),
    )


def _piece(recording: Utterance, cut: Cut, number: int, count: int) -> Utterance:
    begin = round(recording.begin_time + cut.begin, _DECIMALS)
    end = recording.end_time if cut.ends == "end" else round(recording.begin_time + cut.end, _DECIMALS)
    about = {"recording": recording.id, "number": number, "count": count, "ends": cut.ends}
    return replace(
        recording,
        id=f"{recording.id}#{number:03d}",
        text=None,
        begin_time=begin,
        end_time=end,
        extra={**recording.extra, PIECE: about},
    )


def _seconds(utterance: Utterance) -> float:
    try:
        return duration(utterance)  # NaN without audio
    except AudioError:
        return math.nan
