"""JSON over HTTP with a busy server: time-outs, retries with back-off, errors that say what to do."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from typing import Any, NoReturn, TypeVar

import tenacity

from .errors import ServerError, quoted, shown
from .http_request import Answer, Exchange, NoAnswerError, server_url
from .refusals import PASSING, detail_of, named_status, refusal_message, remedy_of, retry_after

Item = TypeVar("Item")
Result = TypeVar("Result")

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 60.0
"""Back-off doubles from the first to the longest; pauses that a server asks for are limited to the longest too."""
SAID_FROM_SECONDS = 5.0
"""Shortest pause requested by a server that is reported."""


class ServerAsksToWait(UserWarning):
    """A server asks for a longer pause than usual between attempts."""


class _TemporaryFailure(Exception):
    """A failure that may not occur in another attempt."""

    def __init__(self, problem: str, *, status: int | None = None, wait: float = 0.0, remedy: str = "") -> None:
        super().__init__(problem)
        self.status, self.wait, self.remedy = status, wait, remedy


class JsonClient:
    """Asks one server, from several threads at once.

    Attributes:
        url: Of the server, for messages: without `/v1`, password and query.
        retries: Attempts after the first.
        concurrency: Requests at once.
        n_retried: Attempts so far that failed and were repeated.

    Args:
        url: With or without `/v1` at its end; a query is sent with every request.
        timeout_seconds: Time limit of an attempt, from its start to the end of the answer.
        retries: Attempts after the first, for 429, 5xx, lost connections, time-outs and invalid JSON.
        concurrency: Requests at once.
        key: Sent as a bearer token.

    Raises:
        ServerError: The URL, the key or a proxy of the environment cannot be used.
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
            raise ServerError(
                "the server's key contains a line break or another character that is not allowed in headers; correct it"
            )
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
        """Return the JSON object at a path.

        Raises:
            ServerError: None came.
        """
        return self._ask("GET", path, None, "")

    def post(self, path: str, body: Mapping[str, Any], about: str) -> dict[str, Any]:
        """Send a body; returns the JSON object of the answer.

        Args:
            path: Such as `/v1/chat/completions`.
            body: JSON.
            about: What the request is about, for messages.

        Raises:
            ServerError: None came.
        """
        return self._ask("POST", path, body, about)

    def many(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Apply the function to every item, in order, `concurrency` at once; the first failure ends all."""
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
            except BaseException:  # interrupted: start nothing more, and do not wait for other attempts
                self._abandoned.set()
                raise
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise next((error for error in errors if not isinstance(error, CancelledError)), errors[0])
        return [future.result() for future in futures]

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, about: str) -> dict[str, Any]:
        request, about = f"{method} {self.url}{path}", f" for {about}" if about else ""

        def raise_failure(state: tenacity.RetryCallState) -> NoReturn:
            failure = _failure(state)
            if self._abandoned.is_set():
                raise CancelledError from failure
            tries = f"{state.attempt_number} attempt{'s' if state.attempt_number > 1 else ''}"
            raise ServerError(
                f"{request}: {failure}{about}, {tries}. {failure.remedy}", status=failure.status
            ) from failure

        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_TemporaryFailure),
            stop=tenacity.stop_after_attempt(self.retries + 1) | tenacity.stop_when_event_set(self._abandoned),
            wait=_pause,
            before_sleep=lambda state: self._count(state, request),
            sleep=tenacity.sleep_using_event(self._abandoned),
            retry_error_callback=raise_failure,
        )
        return attempts(self._attempt, method, path, body, about)

    def _count(self, state: tenacity.RetryCallState, request: str) -> None:
        """Count a repeated attempt, and warn of a long pause that the server asks for."""
        with self._lock:
            self.n_retried += 1
        asked, taken = _failure(state).wait, state.upcoming_sleep
        if asked >= SAID_FROM_SECONDS:
            limited = "" if asked <= taken else f", the limit is {taken:g} s"
            warnings.warn(
                f"{request}: the server asks to wait {asked:g} s{limited}; then attempt {state.attempt_number + 1} of "
                f"{self.retries + 1}",
                ServerAsksToWait,
                stacklevel=2,
            )

    def _attempt(self, method: str, path: str, body: Mapping[str, Any] | None, about: str) -> dict[str, Any]:
        url, sent = self.url + path, None if body is None else json.dumps(body).encode()
        try:
            answer = self._exchange.ask(method, f"{self._address}{path}{self._query}", sent)
        except NoAnswerError as error:
            raise _TemporaryFailure(str(error), remedy=error.remedy) from error
        status = answer.status
        if status != 200:
            self._refuse(f"{method} {url}", about, answer, status, f"status {status}", refusal_message(answer.content))
        try:
            tree = json.loads(answer.content)
        except (ValueError, RecursionError) as error:
            raise _TemporaryFailure(
                f"status {status}, but {len(answer.content)} bytes that are not JSON ({quoted(error, 100)}), "
                f"beginning with {quoted(repr(answer.content[:40]))}",
                status=status,
                remedy="If it persists, something between this machine and the server truncates its answers.",
            ) from error
        if not isinstance(tree, dict):
            raise ServerError(
                f"{method} {url}: status {status}{about}, but a {type(tree).__name__} and not an object. "
                "Check that the URL is that of an inference server.",
                status=status,
            )
        if tree.get("error") or tree.get("object") == "error":
            said = named_status(tree)
            self._refuse(
                f"{method} {url}",
                about,
                answer,
                said or status,
                f"status {status}, but an error in it",
                detail_of(tree),
            )
        return tree

    def _refuse(self, request: str, about: str, answer: Answer, status: int, title: str, detail: str) -> NoReturn:
        """Raise the error for a refusal.

        Args:
            request: Method and URL.
            about: What the request was about.
            answer: The answer.
            status: Its own, or that of the error in it.
            title: How the message begins.
            detail: The server's words.
        """
        if status in PASSING or status >= 500:
            wait = retry_after(answer.headers.get("Retry-After"))
            raise _TemporaryFailure(
                f"{title}: {detail}" + (f" (it asks to wait {wait:g} s)" if wait else ""),
                status=status,
                wait=wait,
                remedy="Lower concurrency or raise retries; the server's log says why.",
            )
        remedy = remedy_of(status)
        if 300 <= status < 400:
            place = quoted(shown(answer.headers.get("Location") or "an unnamed place"), 200)
            remedy = f"It redirects to {place}; redirects are not followed: set url to the server's own address."
        raise ServerError(f"{request}: {title}{about}: {detail}. {remedy}", status=status, detail=detail)


def _failure(state: tenacity.RetryCallState) -> _TemporaryFailure:
    """Return the reason why an attempt failed."""
    failure = state.outcome.exception() if state.outcome else None
    assert isinstance(failure, _TemporaryFailure)
    return failure


def _pause(state: tenacity.RetryCallState) -> float:
    """Return seconds until the next attempt: the server's request or the back-off, up to the longest.

    Half of the back-off is random, so that clients do not retry simultaneously.
    """
    half = {"multiplier": FIRST_WAIT_SECONDS / 2, "max": LONGEST_WAIT_SECONDS / 2}
    back_off = tenacity.wait_exponential(**half) + tenacity.wait_random_exponential(**half)
    return min(LONGEST_WAIT_SECONDS, max(_failure(state).wait, back_off(state)))
