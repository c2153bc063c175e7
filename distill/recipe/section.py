"""Base class and field types of recipe sections."""

import unicodedata
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from overlap.errors import UserError

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=0)]
Threads = Annotated[int, Field(ge=1, le=1024)]
"""Threads of this machine at once; with tens of thousands, operating systems end the process."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Text = Annotated[str, Field(min_length=1)]

NUMBER = "number"
"""What pydantic's locations have for a number where a table of several types may stand as well; no type is named so."""

LONGEST_NAME = 100
"""Longest name in bytes; file names contain up to two of them."""
_RESERVED = '/\\:*?"<>|[]'
_JOINERS = "\u200c\u200d"  # invisible, and letters of some scripts are not the same without


def _file_name(name: str) -> str:
    """Return a name that can stand in the names of files everywhere, and as text on every page."""
    if not name.strip() or name != name.strip() or name.strip(".") != name:
        raise UserError(f"{name!r} is empty, or begins or ends with a blank or a dot; it is part of file names")
    for character in name:
        hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS
        if hidden or character in _RESERVED:
            what = f"the control character U+{ord(character):04X}" if hidden else repr(character)
            raise UserError(
                f"{name!r} has {what}; it is part of file names, so leave out control characters and any of {_RESERVED}"
            )
    if len(name.encode()) > LONGEST_NAME:
        raise UserError(f"{name[:20]!r}… is longer than {LONGEST_NAME} bytes; it is part of file names")
    return name


def same_file(name: str) -> str:
    """Return the key that is equal for names that some file systems do not distinguish."""
    return unicodedata.normalize("NFC", name).casefold()


FileName = Annotated[Text, AfterValidator(_file_name)]


class _Explained(type(BaseModel)):
    """Makes `Section(…)` say in one line what is wrong with its arguments; files are explained where they are read."""

    if not TYPE_CHECKING:  # or the arguments of sections would not be checked

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            """Make a section.

            Raises:
                UserError: An argument that it does not have or that it cannot take; names it, and the remedy.
            """
            try:
                return super().__call__(*args, **kwargs)
            except ValidationError as error:
                from .explaining import explain  # which knows all sections

                raise UserError(explain(error, cls).replace("\n  ", "; ")) from error


class Section(BaseModel, metaclass=_Explained):
    """A frozen part of a recipe that refuses unknown keys; the text below a field is its help on the command line."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
