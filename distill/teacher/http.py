"""JSON over HTTP with a busy server: time-outs, retries with back-off, errors that say what to do."""

from __future__ import annotations

import random
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx2

Item = TypeVar("Item")
Result = TypeVar("Result")

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 60.0
"""Back-off doubles from the first to the longest; a server that names a time of its own is believed instead."""


class ServerError(ValueError):
    """A server that did not answer as it should; the message names URL, status, utterance and remedy.

    Attributes:
        status: HTTP status of the last answer, None where there was none or its content was wrong.
        detail: The server's own words.
    """

    def __init__(self, message: str, *, status: int | None = None, detail: str = "") -> None:
        super().__init__(message)
        self.status, self.detail = status, detail


class _Passing(Exception):
    """A failure that another attempt may not meet."""

    def __init__(self, problem: str, *, status: int | None = None, wait: float = 0.0, remedy: str = "") -> None:
        super().__init__(problem)
        self.status, self.wait, self.remedy = status, wait, remedy


class JsonClient:
    """Asks one server, from several threads at once.

    Attributes:
        url: Of the server, without `/v1`.
        retries: Attempts after the first.
        concurrency: Requests at once.
        n_retried: Attempts so far that failed and were repeated.

    Args:
        url: With or without `/v1` at its end.
        timeout_seconds: Longest silence of the server in an attempt.
        retries: Attempts after the first, for 429, 5xx, lost connections, silence and broken JSON.
        concurrency: Requests at once.
        key: Sent as a bearer token.
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
        if not url.startswith(("http://", "https://")):
            raise ServerError(f"{url!r} is no URL of a server; give one such as http://localhost:8000")
        self.url = url.rstrip("/").removesuffix("/v1")
        self.retries, self.concurrency, self.n_retried = retries, concurrency, 0
        self._timeout_seconds = timeout_seconds
        self._abandoned, self._lock = threading.Event(), threading.Lock()
        self._http = httpx2.Client(
            timeout=httpx2.Timeout(timeout_seconds, connect=min(timeout_seconds, 10.0)),
            limits=httpx2.Limits(max_connections=concurrency),
            headers={"Authorization": f"Bearer {key}"} if key else {},
        )
        weakref.finalize(self, self._http.close)

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
                return self._attempt(method, url, body, about)
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
                self._abandoned.wait(max(failure.wait, _back_off(attempt)))
        raise AssertionError("unreachable")

    def _attempt(self, method: str, url: str, body: Mapping[str, Any] | None, about: str) -> dict[str, Any]:
        try:
            response = self._http.request(method, url, json=body)
        except httpx2.TimeoutException as error:
            raise _Passing(
                f"no answer within {self._timeout_seconds:g} s ({type(error).__name__})",
                remedy="Raise timeout_seconds, or lower concurrency if the server is busy.",
            ) from error
        except httpx2.TransportError as error:
            raise _Passing(
                f"{type(error).__name__}: {error}",
                remedy="Check that the server runs and that this machine reaches it.",
            ) from error
        status = response.status_code
        if status == 429 or status >= 500:
            raise _Passing(
                f"status {status}: {_detail(response)}",
                status=status,
                wait=_retry_after(response.headers.get("Retry-After")),
                remedy="Lower concurrency or raise retries; the server's log says why.",
            )
        if status >= 300:
            detail = _detail(response)
            raise ServerError(
                f"{method} {url}: status {status}{about}: {detail}. {_remedy(status)}", status=status, detail=detail
            )
        try:
            tree = response.json()
        except ValueError as error:
            raise _Passing(
                f"status {status}, but {len(response.content)} bytes that are not JSON ({error})",
                status=status,
                remedy="If it stays so, something between here and the server cuts its answers off.",
            ) from error
        if not isinstance(tree, dict):
            raise ServerError(
                f"{method} {url}: status {status}{about}, but a {type(tree).__name__} and not an object. "
                "Check that the URL is that of an inference server.",
                status=status,
            )
        return tree


def _back_off(attempt: int) -> float:
    """Seconds to wait: exponential, with the jitter that keeps clients from coming back together."""
    longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2**attempt)
    return longest * random.uniform(0.5, 1.0)


def _retry_after(value: str | None) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110, section 10.2.3: seconds or a date)."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0


def _detail(response: httpx2.Response) -> str:
    """What the server says is wrong, from the places where servers say it."""
    try:
        tree: Any = response.json()
    except ValueError:
        tree = response.text
    for key in ("error", "message", "detail"):
        if isinstance(tree, dict) and key in tree:
            tree = tree[key]
    words = " ".join(str(tree).split())
    return words[:500] or "no words"


def _remedy(status: int) -> str:
    if status in (401, 403):
        return "Name the environment variable that holds the server's key (key_variable, --key-variable)."
    if status == 404:
        return "Check the URL, the api (vllm or sglang) and the served model's name (served_name)."
    if status == 413:
        return "The audio is too long for the server's limit on requests; raise the limit there or split the utterance."
    return "The request will not do better a second time; change what the server objects to."
