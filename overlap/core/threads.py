"""Work on a CPU spread over threads that each compute by themselves.

The passes here run over rows that stay in a processor's cache, some hundred microseconds each. Were torch to split each
of them among its threads, the calling thread would wait hundreds of times a second for the slowest, and on a machine
with other work that is one that is not scheduled. So a thread takes whole parts, in which torch does not split further,
and the threads meet once, at the end of a call.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")

MOST = 8
"""Threads at work at once; each has scratch memory of its own."""

_lock = threading.Lock()
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def count(device: torch.device) -> int:
    """How many threads `each` uses for tensors on this device: as many as torch may, on a CPU.

    Never more than there are processors for this process: those beyond only wait for each other.
    """
    return min(MOST, torch.get_num_threads(), _processors()) if device.type == "cpu" else 1


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(work: Callable[[T], None], parts: Sequence[T], device: torch.device) -> None:
    """Call ``work`` on every part: in the calling thread where torch has one, or the device is an accelerator.

    Threads take the next part when they are done with one, so that one that the machine delays has fewer. They have the
    caller's gradient and inference modes, and neither its autocast nor its other contexts.

    Args:
        work: what to do; parts must not write to the same memory.
        parts: what to do it on, in any order.
        device: where the tensors are.

    Raises:
        Exception: whatever ``work`` raised first; parts that have not begun are left out.
    """
    threads = count(device)
    if threads == 1:
        for part in parts:
            work(part)
        return
    left = iter(parts)
    taking, stop = threading.Lock(), threading.Event()
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    def take() -> None:
        try:
            with torch.inference_mode(inference), torch.set_grad_enabled(grad):
                while not stop.is_set():
                    with taking:
                        part = next(left, None)
                    if part is None:
                        return
                    work(part)
        except BaseException:
            stop.set()
            raise

    futures: list[Future[None]] = []
    try:
        pool = _pool(threads)
        futures = [pool.submit(take) for _ in range(min(threads, len(parts)))]
        for future in futures:
            future.result()
    finally:
        stop.set()
        for future in futures:
            future.exception()  # nobody may still write when the caller continues


def _pool(threads: int) -> ThreadPoolExecutor:
    """The threads of this process, made when first asked for; a forked child has none of its parent's."""
    key = os.getpid(), threads
    with _lock:
        if key not in _pools:
            ready = threading.Barrier(threads + 1)
            pool = ThreadPoolExecutor(threads, "overlap")
            for _ in range(threads):
                pool.submit(_alone, ready)
            ready.wait()
            # A thread's number is its own, but torch gives the number last set to every thread that is new to it.
            torch.set_num_threads(torch.get_num_threads())
            _pools[key] = pool
        return _pools[key]


def _alone(ready: threading.Barrier) -> None:
    torch.get_num_threads()  # the first question in a thread sets its number to that of all, over what was set before
    torch.set_num_threads(1)
    ready.wait()
