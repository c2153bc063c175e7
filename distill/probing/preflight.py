"""Checks a teacher's server before a run: limits, prompts, speed, and deviation from local weights.

Two engines that run one model do not agree to the last bit. The overlap between them is the upper limit for any
student, and the difference of their log-probabilities is the noise level of the statistics.
"""

from __future__ import annotations

import math
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

import overlap
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.summary import estimate
from overlap.estimates.table_formatting import text_table
from overlap.plain_json import plain

from ..data.audio import duration
from ..data.batch import AudioSource
from ..data.manifest import Utterance
from ..models import Recognizer, load_recognizer
from ..recipe import SupportSettings
from ..scoring.pair import Pair
from ..scoring.scores import score
from ..scoring.served import TopkScores
from ..teacher import ServedTeacher, ServerError

CEILING = 1024
"""Most log-probabilities per position to request in the search for the server's limit."""


@dataclass(frozen=True)
class Latency:
    """Seconds of a request with log-probabilities, one at a time: median and quartiles."""

    median: float
    low: float
    high: float
    n: int
    median_audio_seconds: float


@dataclass(frozen=True)
class EngineNoise:
    """One model in two engines, on transcripts that the server wrote.

    Attributes:
        overlap_ratio: Share of the support that both have.
        top1_agreement: Share of positions with the same best token.
        difference: Mean over positions of the largest |Δ log-probability| of the server's tokens, in nats.
        largest: The largest of all, in nats.
        n_tokens: Log-probabilities compared.
    """

    overlap_ratio: overlap.Estimate
    top1_agreement: overlap.Estimate
    difference: overlap.Estimate
    largest: float
    n_tokens: int


@dataclass(frozen=True)
class Preflight:
    """Results of a preflight.

    Attributes:
        url: Of the server.
        api: Its protocol.
        served_name: Its name of the model.
        max_length: Maximum tokens of prompt and transcript together; None if not reported.
        max_logprobs: Log-probabilities that it returns at each position; a lower bound if `at_least`.
        at_least: Whether the search ended before the limit.
        asked: Log-probabilities that a probe would request at each position.
        k: Size of the supports.
        same_prompts: Number of utterances whose prompt has exactly the tokens of the local processor's.
        n_clips: Number of utterances.
        latency: Of requests.
        noise: Comparison with local weights; None if there are none.
        n_retried: Attempts of all requests that failed and were repeated.
        problems: Problems with their remedies; empty if there are none.
    """

    url: str
    api: str
    served_name: str
    max_length: int | None
    max_logprobs: int
    at_least: bool
    asked: int
    k: int
    same_prompts: int
    n_clips: int
    latency: Latency
    noise: EngineNoise | None
    n_retried: int = 0
    problems: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a tree that JSON can hold."""
        tree = asdict(self)
        if self.noise is not None:
            names = ("overlap_ratio", "top1_agreement", "difference")
            tree["noise"] |= {name: getattr(self.noise, name).to_dict() for name in names}
        return plain(tree)

    def __str__(self) -> str:
        length = "not said" if self.max_length is None else f"{self.max_length:,} tokens"
        limit = f"{'at least ' if self.at_least else ''}{self.max_logprobs:,} a position"
        latency = self.latency
        rows = [
            ["server", f"{self.url} ({self.api})", ""],
            ["model", f"{self.served_name!r} is served", ""],
            ["context", length, ""],
            ["audio", "transcribed", f"{self.n_clips} utterances"],
            ["log-probabilities", f"{limit}; {self.asked} are asked for, k = {self.k}", ""],
            ["prompt", f"{self.same_prompts} as the local processor's", f"{self.n_clips} utterances"],
            [
                "latency",
                f"{latency.median:.3f} s [{latency.low:.3f}, {latency.high:.3f}] quartiles, one request at a time, "
                f"median audio {latency.median_audio_seconds:.2f} s",
                f"{latency.n} requests",
            ],
        ]
        if self.n_retried:
            rows.append(["failures", f"{self.n_retried:,} that passed when the request was repeated", ""])
        if self.noise is None:
            rows.append(["local engine", "not compared: the teacher's directory holds no weights", ""])
        else:
            noise = self.noise
            rows += [
                ["local engine: overlap ratio", *_shown(noise.overlap_ratio)],
                ["local engine: top-1 agreement", *_shown(noise.top1_agreement)],
                ["local engine: largest |Δ log q| a position", *_shown(noise.difference, " nats")],
                ["local engine: largest |Δ log q|", f"{noise.largest:.3g} nats", f"{noise.n_tokens:,} tokens"],
            ]
        table = text_table(["check", "result", "n"], rows, left=(0, 1, 2))
        words = [f"problem: {problem}" for problem in self.problems] or ["no problems found"]
        return "\n".join([table, "", *words])


def preflight(
    teacher: ServedTeacher,
    source: AudioSource,
    utterances: Sequence[Utterance],
    k: int,
    *,
    max_new_tokens: int = 256,
    dtype: str = "float32",
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Preflight:
    """Send the requests of a run to a server, for a few utterances.

    Args:
        teacher: The server, and the local tokenizer.
        source: Reads the audio.
        utterances: The utterances.
        k: Size of the supports.
        max_new_tokens: Longest transcript.
        dtype: Type of the local weights.
        device: Their device.
        progress: Called after each utterance.

    Raises:
        ServerError: The server does not take audio, or does not answer.
    """
    shortest = min(utterances, key=duration)
    limit, at_least = _limit(teacher, source, shortest)
    asked, problems = min(teacher.n_topk, limit), []
    if limit < teacher.n_topk:
        problems.append(
            f"the server returns {limit} log-probabilities a position, {teacher.n_topk} are asked for: start it with "
            f"more (vllm serve --max-logprobs {teacher.n_topk}), or set top_logprobs = {limit}"
            + (f" and k to at most {limit}" if limit < k else "")
        )
    seconds, same, difference = [], 0, ""
    for done, utterance in enumerate(utterances, start=1):
        batch = source.batch([utterance])
        prompt = batch.prompt(teacher)
        [question] = teacher.questions(prompt)
        text = teacher.decode(teacher.rollout(prompt, max_new_tokens=max_new_tokens))[0]
        written = teacher.encode([text])
        tokens = written.ids[0][written.mask[0]].tolist()[:-1]
        start = time.perf_counter()
        reply = teacher.reply(question, text, len(tokens), asked)
        seconds.append(time.perf_counter() - start)
        local = batch.prompt(teacher.reader)
        words = _difference(reply.prompt_ids, local.inputs["input_ids"][0].tolist() + tokens, teacher.tokens.strings)
        same += not words
        difference = difference or (words and f"utterance {utterance.id!r}: {words}")
        if progress:
            progress(done, len(utterances))
    if difference:
        problems.append(f"{len(utterances) - same} of {len(utterances)} prompts differ, {difference}")
    quartiles = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else [seconds[0]] * 3
    audio = statistics.median(duration(utterance) for utterance in utterances)
    noise = None
    if has_weights(teacher.reader.name) and limit >= teacher.n_topk:
        local = load_recognizer(teacher.reader.name, dtype=dtype, device=device)
        noise = engine_noise(local, teacher, source, utterances, k, max_new_tokens=max_new_tokens)
    return Preflight(
        url=teacher.client.url,
        api=teacher.api.name,
        served_name=teacher.served_name,
        max_length=teacher.max_length,
        max_logprobs=limit,
        at_least=at_least,
        asked=teacher.n_topk,
        k=k,
        same_prompts=same,
        n_clips=len(utterances),
        latency=Latency(quartiles[1], quartiles[0], quartiles[2], len(seconds), audio),
        noise=noise,
        n_retried=teacher.client.n_retried,
        problems=tuple(problems),
    )


def engine_noise(
    local: Recognizer,
    teacher: ServedTeacher,
    source: AudioSource,
    utterances: Sequence[Utterance],
    k: int,
    *,
    max_new_tokens: int = 256,
) -> EngineNoise:
    """Compare a local model with the same model behind a server, on the server's transcripts, one utterance at a time.

    Batches would add the local engine's own noise: padding changes what an audio encoder computes.

    Args:
        local: The same model with its weights.
        teacher: The server.
        source: Reads the audio.
        utterances: The utterances.
        k: Size of the supports.
        max_new_tokens: Longest transcript.
    """
    pair, parts, largest, n_tokens = Pair.from_models(local, teacher, k), [], 0.0, 0
    for utterance in utterances:
        batch = source.batch([utterance])
        written = teacher.rollout(batch.prompt(teacher), max_new_tokens=max_new_tokens)
        transcripts = pair.in_students_ids(written, teacher)
        compared = score(TopkScores, pair, batch, transcripts, SupportSettings(k=k))
        width = compared.student_logits.shape[-1]
        here = torch.log_softmax(compared.student_logits.double(), -1)
        given = compared.used[..., None] & (compared.topk_ids >= 0) & (compared.topk_ids < width)
        there = compared.topk_logprobs
        away = (here.gather(-1, compared.topk_ids.clamp(0, width - 1)) - there).abs().masked_fill(~given, 0.0)
        decided = compared.bounds().decided()
        values = {name: decided[name] for name in ("overlap_ratio", "top1_agreement")} | {"difference": away.amax(-1)}
        parts.append(GroupSums.from_values(values, [utterance.id], mask=compared.used))
        largest, n_tokens = max(largest, float(away.max()) if away.numel() else 0.0), n_tokens + int(given.sum())
    sums = GroupSums.merged(parts)
    found = overlap.OverlapSummary.from_group_sums(sums, k=k)
    difference = estimate(sums, limits=(0.0, math.inf))["difference"]  # an absolute one
    return EngineNoise(found["overlap_ratio"], found["top1_agreement"], difference, largest, n_tokens)


def has_weights(model: str) -> bool:
    """Return whether a directory has weights, not only a tokenizer."""
    return any(any(Path(model).glob(f"*.{ending}")) for ending in ("safetensors", "bin"))


def _limit(teacher: ServedTeacher, source: AudioSource, utterance: Utterance) -> tuple[int, bool]:
    """Return the maximum log-probabilities at a position, and whether there may be more; from the server's message or
    by bisection."""
    [question] = teacher.questions(source.batch([utterance]).prompt(teacher))

    def refusal(m: int) -> ServerError | None:
        try:
            teacher.reply(question, "", 0, m)
        except ServerError as error:
            if error.status not in (400, 422):
                raise
            return error
        return None

    ceiling = min(CEILING, teacher.tokens.size)
    if (refused := refusal(ceiling)) is None:
        return ceiling, ceiling < teacher.tokens.size
    said = re.search(r"max(?:imum)? allowed[^0-9]{0,3}([0-9]{1,9})", refused.detail)
    if said and 1 <= int(said[1]) < ceiling and refusal(int(said[1])) is None:
        return int(said[1]), False
    if (first := refusal(1)) is not None:  # the number is not the problem
        raise first
    low, high = 1, ceiling
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if refusal(middle) is None else (low, middle)
    return low, False


def _difference(received: Sequence[int | None], expected: Sequence[int], spelled: Sequence[str]) -> str:
    """Return the first difference of two prompts, in words; empty if they are equal."""
    at = next((i for i, (a, b) in enumerate(zip(received, expected, strict=False)) if a not in (b, None)), None)
    if at is None and len(received) == len(expected):
        return ""
    at = min(len(received), len(expected)) if at is None else at
    sides = (f"{_name(side, at, spelled)} ({len(side)} tokens)" for side in (received, expected))
    there, here = sides
    return (
        f"token {at} is {there} at the server and {here} here. The server and the local engine then score different "
        "prompts (number of audio tokens, chat template); serve the checkpoint with its own template"
    )


def _name(side: Sequence[int | None], at: int, spelled: Sequence[str]) -> str:
    token = side[at] if at < len(side) else None
    return "none" if token is None else repr(spelled[token]) if 0 <= token < len(spelled) else str(token)


def _shown(item: overlap.Estimate, unit: str = "") -> tuple[str, str]:
    interval = f" [{item.low:.4g}, {item.high:.4g}] 95 %" if item.n_groups > 1 else ""
    return f"{item.value:.4g}{unit}{interval}", f"{item.n_positions:,} positions, {item.n_groups} utterances"
