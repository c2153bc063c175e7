"""A teacher behind a server, as recipes name it."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from .section import Count, Positive, Section, Threads


class Server(Section):
    """How a teacher's server is asked."""

    api: Literal["vllm", "sglang"] = "vllm"
    """The OpenAI protocol with vLLM's prompt log-probabilities, or SGLang's own `/generate`."""
    served_name: str | None = None
    """What the server calls the model; None: as `model`, which then names tokenizer and served model alike."""
    top_logprobs: PositiveInt | None = None
    """Best tokens asked for at each position, at least `support.k`; None asks for a few more than k. Servers have a
    limit (vllm serve --max-logprobs)."""
    concurrency: Threads = 8
    """Requests at once."""
    timeout_seconds: Positive = 120.0
    """Longest time of an attempt, from its beginning to the end of the answer."""
    retries: Count = 5
    """Attempts after the first."""
    cache: str | None = None
    """Directory in which answers are kept, one for each checkpoint that is served; None keeps none."""
    key_variable: str | None = None
    """Environment variable that holds the server's key; the key itself is nowhere written."""
