"""What goes wrong with a server, in words that hold what was received."""

from __future__ import annotations

from overlap.errors import UserError

LONGEST_QUOTE = 500


class ServerError(UserError):
    """A server that did not answer as it should; the message names URL, status, utterance and remedy.

    Attributes:
        status: HTTP status of the last answer, None where there was none or its content was wrong.
        detail: The server's own words.
    """

    def __init__(self, message: str, *, status: int | None = None, detail: str = "") -> None:
        super().__init__(message)
        self.status, self.detail = status, detail


def quoted(value: object, longest: int = LONGEST_QUOTE) -> str:
    """What a server sent, on one line, cut to a length, without characters that a terminal would obey.

    >>> quoted("no  such\\nmodel")
    'no such model'
    >>> quoted("\\x1b[2J \\ud800")
    '\\\\x1b[2J \\\\ud800'
    """
    try:
        words = str(value)
    except (RecursionError, ValueError):  # nested too deep, or a number of too many digits
        return f"a {type(value).__name__}"
    words = " ".join(words[: 4 * longest].split())
    words = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
    return words if len(words) <= longest else words[:longest] + " …"
