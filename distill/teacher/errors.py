"""Errors of servers, with what was received."""

from __future__ import annotations

import re

from overlap.errors import UserError

LONGEST_QUOTE = 500
_HOST = re.compile(r"(\[[^\]]*\]|[^:@]*)(:\d*)?")


class ServerError(UserError):
    """A server that did not answer correctly; the message names URL, status, utterance and remedy.

    Attributes:
        status: HTTP status of the last response, None if there was none or its content was wrong.
        detail: The server's own words.
    """

    def __init__(self, message: str, *, status: int | None = None, detail: str = "") -> None:
        super().__init__(message)
        self.status, self.detail = status, detail


def shown(url: object) -> str:
    """Return an address as messages may show it: without the password and the query, in which keys are given.

    >>> shown("http://u:secret@h:8000/v1?token=abc"), shown("http://h/@team"), shown("nowhere")
    ('http://h:8000/v1?…', 'http://h/@team', 'nowhere')
    >>> shown("http://u:se/cret@h"), shown("http://u:se?cret@h/v1"), shown("u:secret@h")
    ('http://h', 'http://h/v1', 'h')
    """
    before, slashes, after = str(url).partition("://")
    scheme, rest = (before, after) if slashes else ("", before)
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        rest = rest[authority.rindex("@") + 1 :]
    elif not _HOST.fullmatch(authority):  # for instance a password with a character that should have been escaped
        rest = rest.rpartition("@")[2]
    address, query, _ = rest.partition("?")
    return f"{scheme}{slashes}{address}{query and '?…'}"


def quoted(value: object, longest: int = LONGEST_QUOTE) -> str:
    """Return what a server sent, on one line, cut to a length, without terminal control characters.

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
