"""One HTTP request and its complete response, within a hard time limit.

Requests run in an event loop of their own thread, where an attempt can be canceled at any time, also in the middle of
a slow response.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy

import httpx2

from .errors import ServerError, shown
from .proxies import EnvironmentProxy, environment_proxy

LARGEST_PORT = 65_535
INSTEAD = "give one such as http://localhost:8000"
LONGEST_CONNECT_SECONDS = 10.0
LARGEST_ANSWER_BYTES = 2**29
"""Above the size of a thousand tokens at thousands of positions; a larger response is an error."""


class NoAnswerError(Exception):
    """An attempt that ended without a complete response.

    Attributes:
        remedy: What may help.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.remedy = remedy


@dataclass(frozen=True)
class Answer:
    """A response.

    Attributes:
        status: HTTP status.
        headers: Of the response.
        content: Its complete body, decompressed.
    """

    status: int
    headers: httpx2.Headers
    content: bytes


class Exchange:
    """Connections to one server, for several threads at once.

    Attributes:
        proxy: Proxy of the environment; None if there is none.

    Args:
        server: Its URL.
        timeout_seconds: Time limit from the start of a request to the end of its response.
        connections: At once.
        headers: Sent with each request.

    Raises:
        ServerError: A proxy that cannot be used.
    """

    def __init__(
        self, server: httpx2.URL, *, timeout_seconds: float, connections: int, headers: dict[str, str]
    ) -> None:
        self.proxy: EnvironmentProxy | None = environment_proxy(server)
        self._seconds = timeout_seconds
        transport = httpx2.AsyncHTTPTransport(
            proxy=None if self.proxy is None else httpx2.Proxy(self.proxy.url),
            limits=httpx2.Limits(max_connections=connections),
        )
        connect = min(timeout_seconds, LONGEST_CONNECT_SECONDS)
        self._client = httpx2.AsyncClient(
            transport=transport, timeout=httpx2.Timeout(None, connect=connect), headers=headers
        )
        # No response may change later requests; a cookie that is not ASCII would even fail them.
        self._client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_run, args=(self._loop, self._client), name="requests", daemon=True)
        thread.start()
        weakref.finalize(self, _stop, self._loop, thread)

    def ask(self, method: str, url: str, body: bytes | None) -> Answer:
        """Send a request and wait for its answer.

        Args:
            method: Of HTTP.
            url: The address.
            body: JSON; None sends none.

        Raises:
            NoAnswerError: No response, not in time, or incomplete.
        """
        return asyncio.run_coroutine_threadsafe(self._ask(method, url, body), self._loop).result()

    async def _ask(self, method: str, url: str, body: bytes | None) -> Answer:
        content, headers = bytearray(), {} if body is None else {"Content-Type": "application/json"}
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._client.stream(method, url, content=body, headers=headers) as response,
            ):
                async for part in response.aiter_bytes():
                    content += part
                    if len(content) > LARGEST_ANSWER_BYTES:
                        raise NoAnswerError(
                            f"an answer of more than {LARGEST_ANSWER_BYTES:,} bytes",
                            "Ask for less (top_logprobs), or check that the URL is that of an inference server.",
                        )
                return Answer(response.status_code, response.headers, bytes(content))
        except TimeoutError as error:
            came = f"no complete answer within {self._seconds:g} s ({len(content):,} bytes received)"
            raise NoAnswerError(
                came if content else f"no answer within {self._seconds:g} s (nothing received)",
                "Raise timeout_seconds, or lower concurrency if the server is busy.",
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
            raise self._connection_error(error) from error

    def _connection_error(self, error: Exception) -> NoAnswerError:
        through = "" if self.proxy is None else f", through {self.proxy}"
        remedy = "Check that the server runs and that this machine reaches it."
        if self.proxy is not None:
            remedy = f"Check that the proxy runs, or {self.proxy.remedy}."
        return NoAnswerError(f"{type(error).__name__}: {error}{through}", remedy)


def server_url(given: str) -> httpx2.URL:
    """Return the URL of a server, without `/v1` at the end of its path.

    Raises:
        ServerError: It is not a URL of a server.
    """
    address, mark, query = given.partition("#")[0].partition("?")
    try:
        url = httpx2.URL(address.rstrip("/").removesuffix("/v1") + mark + query)
    except (httpx2.InvalidURL, ValueError) as error:
        why = "" if "@" in given else f" ({error})"  # which may quote a password
        raise ServerError(f"{shown(given)!r} is not the URL of a server{why}; {INSTEAD}") from error
    unfit = not url.host or (":" not in url.host and "%" in url.host)  # a name with invalid characters, or a zone
    if url.scheme not in ("http", "https") or unfit or (url.port or 0) > LARGEST_PORT:
        raise ServerError(f"{shown(given)!r} is not the URL of a server; {INSTEAD}")
    return url


def _run(loop: asyncio.AbstractEventLoop, client: httpx2.AsyncClient) -> None:
    loop.run_forever()
    loop.run_until_complete(client.aclose())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    if thread is not threading.current_thread():
        thread.join(1.0)
