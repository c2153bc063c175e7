"""JSON over HTTP with a busy server: time-outs, retries with back-off, errors that say what to do."""

from __future__ import annotations

import json
import math
import random
import re
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn, TypeVar

from .errors import LONGEST_QUOTE, ServerError, quoted, shown
from .exchange import Answer, Exchange, NoAnswerError, server_url

Item = TypeVar("Item")
Result = TypeVar("Result")

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 60.0
"""Back-off doubles from the first to the longest; a pause that a server asks for is at most the longest as well."""
SAID_FROM_SECONDS = 5.0
"""Pauses that a server asks for are told from here on."""


class ServerAsksToWait(UserWarning):
    """A server wants to be left alone for longer than a usual pause between attempts."""


class _Passing(Exception):
    """A failure that another attempt may not meet."""

    def __init__(self, problem: str, *, status: int | None = None, wait: float = 0.0, remedy: str = "") -> None:
        super().__init__(problem)
        self.status, self.wait, self.remedy = status, wait, remedy


class JsonClient:
    """Asks one server, from several threads at once.

    Attributes:
        url: Of the server, without `/v1`, and as messages may show it: without password and query.
        retries: Attempts after the first.
        concurrency: Requests at once.
        n_retried: Attempts so far that failed and were repeated.

    Args:
        url: With or without `/v1` at its end; a query is sent with every request.
        timeout_seconds: Longest time of an attempt, from its beginning to the end of the answer.
        retries: Attempts after the first, for 429, 5xx, lost connections, silence and broken JSON.
        concurrency: Requests at once.
        key: Sent as a bearer token.

    Raises:
        ServerError: A URL, a key or a proxy of the environment that cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = 120.0,
        retries: int = 5,
        concurrency: int = 8,
        key: str | None = None,
    ) -> None:
        server = server_url(url)
        if key is not None and not (key.isascii() and key.isprintable()):
            raise ServerError("the server's key holds a line break or another character that no header may; correct it")
        address, mark, query = str(server).partition("?")
        self._address, self._query = address.rstrip("/"), mark + query
        self.url = shown(self._address)
        self.retries, self.concurrency, self.n_retried = retries, concurrency, 0
        self._abandoned, self._lock = threading.Event(), threading.Lock()
        self._exchange = Exchange(
            server,
            timeout_seconds=timeout_seconds,
            connections=concurrency,
            headers={"Authorization": f"Bearer {key}"} if key else {},
        )

    def get(self, path: str) -> dict[str, Any]:
        """The JSON object at a path.

        Raises:
            ServerError: None came.
        """
        return self._ask("GET", path, None, "")

    def post(self, path: str, body: Mapping[str, Any], about: str) -> dict[str, Any]:
        """The JSON object that answers a body.

        Args:
            path: Such as `/v1/chat/completions`.
            body: JSON.
            about: What the request is about, for messages.

        Raises:
            ServerError: None came.
        """
        return self._ask("POST", path, body, about)

    def many(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """The function of every item, in order, `concurrency` at once; the first failure ends them all."""
        self._abandoned.clear()

        def guarded(item: Item) -> Result:
            if self._abandoned.is_set():
                raise CancelledError
            try:
                return function(item)
            except BaseException:
                self._abandoned.set()
                raise

        with ThreadPoolExecutor(self.concurrency) as pool:
            futures = [pool.submit(guarded, item) for item in items]
            try:
                wait(futures)
            except BaseException:  # an interruption: let nothing begin, nor wait for another attempt
                self._abandoned.set()
                raise
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise next((error for error in errors if not isinstance(error, CancelledError)), errors[0])
        return [future.result() for future in futures]

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, about: str) -> dict[str, Any]:
        url, about = self.url + path, f" for {about}" if about else ""
        for attempt in range(self.retries + 1):
            try:
                return self._attempt(method, path, body, about)
            except _Passing as failure:
                if self._abandoned.is_set():
                    raise CancelledError from failure
                if attempt == self.retries:
                    tries = f"{attempt + 1} attempt{'s' if attempt else ''}"
                    raise ServerError(
                        f"{method} {url}: {failure}{about}, {tries}. {failure.remedy}", status=failure.status
                    ) from failure
                with self._lock:
                    self.n_retried += 1
                self._abandoned.wait(self._pause(failure, attempt, f"{method} {url}"))
        raise AssertionError("unreachable")

    def _pause(self, failure: _Passing, attempt: int, request: str) -> float:
        """Seconds until the next attempt: what the server asks for or the back-off, and never more than the longest."""
        seconds = min(LONGEST_WAIT_SECONDS, max(failure.wait, _back_off(attempt)))
        if failure.wait >= SAID_FROM_SECONDS:
            asked = f"asks to wait {failure.wait:g} s"
            taken = "" if failure.wait <= seconds else f", {seconds:g} s are waited at most"
            warnings.warn(
                f"{request}: the server {asked}{taken}; then attempt {attempt + 2} of {self.retries + 1}",
                ServerAsksToWait,
                stacklevel=4,
            )
        return seconds

    def _attempt(self, method: str, path: str, body: Mapping[str, Any] | None, about: str) -> dict[str, Any]:
        url, sent = self.url + path, None if body is None else json.dumps(body).encode()
        try:
            answer = self._exchange.ask(method, f"{self._address}{path}{self._query}", sent)
        except NoAnswerError as error:
            raise _Passing(str(error), remedy=error.remedy) from error
        status = answer.status
        if status != 200:
            self._refuse(f"{method} {url}", about, answer, status, f"status {status}", _words(answer.content))
        try:
            tree = json.loads(answer.content)
        except (ValueError, RecursionError) as error:
            raise _Passing(
                f"status {status}, but {len(answer.content)} bytes that are not JSON ({quoted(error, 100)}), "
                f"beginning with {quoted(repr(answer.content[:40]))}",
                status=status,
                remedy="If it stays so, something between here and the server cuts its answers off.",
            ) from error
        if not isinstance(tree, dict):
            raise ServerError(
                f"{method} {url}: status {status}{about}, but a {type(tree).__name__} and not an object. "
                "Check that the URL is that of an inference server.",
                status=status,
            )
        if tree.get("error") or tree.get("object") == "error":
            said = _named_status(tree)
            self._refuse(
                f"{method} {url}", about, answer, said or status, f"status {status}, but an error in it", _detail(tree)
            )
        return tree

    def _refuse(self, request: str, about: str, answer: Answer, status: int, title: str, detail: str) -> NoReturn:
        """Raise what an answer that is none deserves.

        Args:
            request: Method and URL.
            about: What it was about.
            answer: The answer.
            status: Its own, or what the error inside it names.
            title: How the message begins.
            detail: The server's words.
        """
        if status in PASSING or status >= 500:
            wait = _retry_after(answer.headers.get("Retry-After"))
            raise _Passing(
                f"{title}: {detail}" + (f" (it asks to wait {wait:g} s)" if wait else ""),
                status=status,
                wait=wait,
                remedy="Lower concurrency or raise retries; the server's log says why.",
            )
        remedy = _remedy(status)
        if 300 <= status < 400:
            place = quoted(shown(answer.headers.get("Location") or "a place that it does not name"), 200)
            remedy = f"It points to {place}; name the server's own address as url: what is sent follows no redirect."
        raise ServerError(f"{request}: {title}{about}: {detail}. {remedy}", status=status, detail=detail)


PASSING = (408, 425, 429)
"""Statuses below 500 that another attempt may not meet: too slow, too early, too many (RFC 9110, 8470, 6585)."""


def _back_off(attempt: int) -> float:
    """Seconds to wait: exponential, with the jitter that keeps clients from coming back together."""
    longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2**attempt)
    return longest * random.uniform(0.5, 1.0)


def _retry_after(value: str | None) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110, section 10.2.3: seconds or a date); 0 where it is neither.

    >>> [_retry_after(value) for value in ("2", "0.5", "inf", "nan", "-3", "soon", None)]
    [2.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (IndexError, OverflowError, TypeError, ValueError):
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def _words(content: bytes) -> str:
    """What the body of a refusal says."""
    try:
        return _detail(json.loads(content))
    except (ValueError, RecursionError):
        return quoted(content[: 4 * LONGEST_QUOTE].decode(errors="replace")) or "no words"


def _detail(tree: Any) -> str:
    """What the server says is wrong, from the places where servers say it."""
    for key in ("error", "message", "detail"):
        if isinstance(tree, dict) and tree.get(key):
            tree = tree[key]
    return quoted(tree) or "no words"


def _named_status(tree: Mapping[str, Any]) -> int | None:
    """The status that an error in an answer names."""
    inside = tree.get("error")
    places = [inside, tree] if isinstance(inside, dict) else [tree]
    codes = (_number(place.get(key)) for place in places for key in ("code", "status", "status_code"))
    return next((code for code in codes if code is not None and 400 <= code < 600), None)


def _number(code: Any) -> int | None:
    """A status that is written as a number, or as a string of three digits."""
    if isinstance(code, str) and re.fullmatch(r"[0-9]{3}", code.strip()):
        return int(code)
    return code if type(code) is int else None


def _remedy(status: int) -> str:
    if status in (401, 403):
        return "Name the environment variable that holds the server's key (key_variable, --key-variable)."
    if status == 404:
        return "Check the URL, the api (vllm or sglang) and the served model's name (served_name)."
    if status == 413:
        return "The audio is too long for the server's limit on requests; raise the limit there or split the utterance."
    return "The request will not do better a second time; change what the server objects to."
