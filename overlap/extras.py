"""Optional libraries, imported where they are needed."""

import importlib
from types import ModuleType

from overlap.version import DISTRIBUTION


class MissingExtraError(ImportError):
    """A library is not installed; the message names it and the command that installs it."""


def require(module: str, *, purpose: str, extra: str | None = None) -> ModuleType:
    """Import a library that may not be installed.

    Args:
        module: its import name.
        purpose: what needs it, the first words of the message.
        extra: the extra of this distribution that installs it; without one, the library itself is installed.

    Returns:
        The module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        wanted = error.name if extra is None else f"'{DISTRIBUTION}[{extra}]'"
        raise MissingExtraError(
            f"{purpose} needs the Python package {error.name}; install it with `pip install {wanted}`"
        ) from error
