"""Filters of teacher data: their settings and defaults.

The limits on compression and log-probability are those by which Whisper refuses its own transcripts (Radford et al.
2022, section 4.5). Readers of 17 languages speak 4 to 9 syllables a second (Coupé et al. 2019, doi
10.1126/sciadv.aaw2594), and a syllable has one to about four letters. Qwen3-ASR's own post-processing removes
repetitions from 20 on (`qwen_asr.inference.utils`). Set the limits by the quantiles that the summary shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, PositiveInt, model_validator
from pydantic_core import PydanticCustomError

from overlap.errors import UserError

from .section import NonNegative, Positive, Probability, Section


def _parse_limit(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, str) and not _numeric(value) and value != "off"):
        raise PydanticCustomError("number_or_off", 'give a number, or "off"')  # true would be read as 1
    return None if value == "off" else value


def _numeric(text: str) -> bool:
    """Return whether a text is a number, which the command line hands over as one."""
    try:
        float(text)
    except ValueError:
        return False
    return True


Number = TypeVar("Number")
Limit = Annotated[Number | None, BeforeValidator(_parse_limit)]
"""A number, or "off" (None in Python)."""


def is_limit(metadata: Sequence[Any]) -> bool:
    """Return whether a field is a `Limit`, by what pydantic keeps of its annotation."""
    return BeforeValidator(_parse_limit) in metadata


class Filters(Section):
    """Which transcripts are dropped. Filters are independent; a filter keeps what it cannot judge."""

    empty: Literal["drop", "keep"] = "drop"
    """Transcripts without a letter or digit; if they are kept, the student is trained to write nothing there."""
    unfinished: Literal["drop", "keep"] = "drop"
    """Transcripts that reached max_new_tokens."""
    max_compression: Limit[Annotated[float, Field(ge=1.0)]] = 2.4
    """Largest ratio of the text's bytes to its bytes after zlib, or "off": the statistic `repetition`, which
    `reject.repetition` of an on-policy stage limits for rollouts. Loops compress well; sentences without loops have
    about 1."""
    max_repeats: Limit[PositiveInt] = 10
    """Most consecutive repetitions of a letter, word or phrase, or "off". Finds a short loop at the end of a text."""
    min_characters_per_second: Limit[NonNegative] = 0.5
    """Fewest letters and digits per second of audio, or "off". With fewer, most of the audio was not transcribed."""
    max_characters_per_second: Limit[Positive] = 40.0
    """Most letters and digits per second of audio, or "off". Nobody speaks faster."""
    max_tokens_per_second: Limit[Positive] = None
    """Most tokens of the teacher per second of audio, or "off". Also finds loops of tokens that the text does not show,
    such as blanks; a student with the teacher's vocabulary would learn them. `reject.tokens_per_second` of an on-policy
    stage is the same for rollouts."""
    min_logprob: Limit[Annotated[float, Field(le=0.0)]] = -1.0
    """Lowest mean log-probability of the tokens, in nats, or "off"."""
    min_script_share: Limit[Probability] = 0.5
    """Smallest share of words in the scripts of the manifest's language, or "off"."""
    unusable_audio: Literal["fail", "drop"] = "fail"
    """Missing, broken or too long audio: stop, or drop the utterance. (Recipes are checked for missing and too long
    audio before they run.)"""

    @model_validator(mode="after")
    def _check_rate_range(self) -> Filters:
        low, high = self.min_characters_per_second, self.max_characters_per_second
        if low is not None and high is not None and low > high:
            raise UserError(
                f"min_characters_per_second = {low:g} is above max_characters_per_second = {high:g}: nothing is left"
            )
        return self
