"""Optional libraries: the extras of the distribution, imported where they are needed."""

import importlib
from types import ModuleType


class MissingExtraError(ImportError):
    """A library of an optional extra is not installed; the message names the extra."""


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import a library of an optional extra.

    Args:
        module: Its import name.
        extra: The extra of this distribution that installs it.
        purpose: What needs it, for the message.

    Returns:
        The module.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise MissingExtraError(
            f"{purpose} needs the Python package {error.name}; install it with `pip install 'support-overlap[{extra}]'`"
        ) from error
