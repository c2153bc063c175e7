"""A teacher behind a server, as recipes name it."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from .section import Count, Positive, Section, Threads


class Server(Section):
    """Requests to a teacher's server."""

    api: Literal["vllm", "sglang"] = "vllm"
    """The OpenAI protocol with vLLM's prompt log-probabilities, or SGLang's own `/generate`."""
    served_name: str | None = None
    """Name of the model on the server; None uses `model` for both tokenizer and served model."""
    top_logprobs: PositiveInt | None = None
    """Number of log-probabilities to request at each position, at least `support.k`; None requests a few more than k.
    Servers have a limit (vllm serve --max-logprobs)."""
    concurrency: Threads = 8
    """Number of concurrent requests."""
    timeout_seconds: Positive = 120.0
    """Time limit of an attempt, until the end of the response."""
    retries: Count = 5
    """Number of attempts after the first."""
    cache: str | None = None
    """Directory for cached responses; use one per served checkpoint. None does not cache."""
    key_variable: str | None = None
    """Environment variable with the server's key; the key itself is never written to a file."""
