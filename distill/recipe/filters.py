"""Which of a teacher's transcripts are taken for teacher data: the settings of the filters and their defaults.

The limits on compression and log-probability are those by which Whisper refuses a transcript of its own (Radford et al.
2022, section 4.5). Readers of 17 languages speak 4 to 9 syllables a second (Coupé et al. 2019, doi
10.1126/sciadv.aaw2594), of which each is written with one to about four letters. Qwen3-ASR's own post-processing mends
what follows itself 20 times (`qwen_asr.inference.utils`). Set the limits by the quantiles that the summary shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, PositiveInt, model_validator
from pydantic_core import PydanticCustomError

from .section import NonNegative, Positive, Probability, Section


def _off(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, str) and not _numeric(value) and value != "off"):
        raise PydanticCustomError("number_or_off", 'give a number, or "off"')  # true would be read as 1
    return None if value == "off" else value


def _numeric(text: str) -> bool:
    """Whether a text is a number, which the command line hands over as one."""
    try:
        float(text)
    except ValueError:
        return False
    return True


Number = TypeVar("Number")
Limit = Annotated[Number | None, BeforeValidator(_off)]
"""A number, or "off" (None in Python)."""


def takes_off(metadata: Sequence[Any]) -> bool:
    """Whether a field is a `Limit`, by what pydantic keeps of its annotation."""
    return BeforeValidator(_off) in metadata


class Filters(Section):
    """What is dropped. Each filter judges alone, and what it cannot judge it keeps."""

    empty: Literal["drop", "keep"] = "drop"
    """Transcripts without a letter or digit; where they are kept, they teach silence."""
    unfinished: Literal["drop", "keep"] = "drop"
    """Transcripts that ran into max_new_tokens."""
    max_compression: Limit[Annotated[float, Field(ge=1.0)]] = 2.4
    """Bytes of the text over its bytes after zlib, or "off". Loops compress well; sentences without any have about
    1."""
    max_repeats: Limit[PositiveInt] = 10
    """How often a letter, word or phrase may stand in a row, or "off". Finds the short loop that ends a long text."""
    min_characters_per_second: Limit[NonNegative] = 0.5
    """Fewest letters and digits a second of audio, or "off". With fewer, most of the audio was not heard."""
    max_characters_per_second: Limit[Positive] = 40.0
    """Most letters and digits a second of audio, or "off". More cannot be spoken."""
    min_logprob: Limit[Annotated[float, Field(le=0.0)]] = -1.0
    """Lowest mean log-probability of the tokens, in nats, or "off"."""
    min_script_share: Limit[Probability] = 0.5
    """Smallest share of words in the scripts of the manifest's language, or "off"."""
    unusable_audio: Literal["fail", "drop"] = "fail"
    """Audio that is missing, broken or too long: stop, or drop the utterance. (A recipe is checked for missing and for
    too long audio before it runs.)"""

    @model_validator(mode="after")
    def _some_rate_is_kept(self) -> Filters:
        low, high = self.min_characters_per_second, self.max_characters_per_second
        if low is not None and high is not None and low > high:
            raise ValueError(
                f"min_characters_per_second = {low:g} is above max_characters_per_second = {high:g}: nothing is left"
            )
        return self
