"""Names of text normalisers, as recipes write them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticKnownError

from ..normalise import NORMALISERS
from .section import Text


def _known(name: str) -> str:
    if name not in NORMALISERS:
        *names, last = (repr(one) for one in NORMALISERS)
        raise PydanticKnownError("literal_error", {"expected": f"{', '.join(names)} or {last}"})
    return name


NormaliserName = Annotated[Text, AfterValidator(_known)]
"""One of `distill.normalise.NORMALISERS`; whether its library is installed shows when it is first used."""
