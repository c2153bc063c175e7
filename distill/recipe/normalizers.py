"""Names of text normalizers, as recipes write them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticKnownError

from ..normalize import NORMALIZERS
from .section import Text


def _known(name: str) -> str:
    if name not in NORMALIZERS:
        *names, last = (repr(one) for one in NORMALIZERS)
        raise PydanticKnownError("literal_error", {"expected": f"{', '.join(names)} or {last}"})
    return name


NormalizerName = Annotated[Text, AfterValidator(_known)]
"""One of `distill.normalize.NORMALIZERS`; its library is imported at first use."""
