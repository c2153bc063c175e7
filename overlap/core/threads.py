"""Spread CPU work over threads that compute independently.

The passes here run over rows that stay in a processor's cache, about a hundred microseconds each. If torch split each
pass among its threads, the calling thread would wait for the slowest one hundreds of times a second. On a busy machine
the slowest thread is often one that the system has not scheduled. Therefore each thread takes whole parts, torch does
not split them further, and the threads are joined once, at the end of a call.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")

MOST = 8
"""Maximum number of threads at once; each has its own scratch memory."""

_lock = threading.Lock()
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def count(device: torch.device) -> int:
    """Return the number of threads that `each` uses for tensors on this device: on a CPU, as many as torch may use.

    Never more than the processors available to this process: more threads would only wait for each other.
    """
    return min(MOST, torch.get_num_threads(), _processors()) if device.type == "cpu" else 1


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(work: Callable[[T], None], parts: Sequence[T], device: torch.device) -> None:
    """Call ``work`` on every part; in the calling thread if torch has one thread or the device is an accelerator.

    Each thread takes the next part when it has finished one; a delayed thread therefore gets fewer parts. Threads
    inherit the caller's gradient and inference modes, but neither its autocast nor its other contexts.

    Args:
        work: what to do; parts must not write to the same memory.
        parts: what to do it on, in any order.
        device: where the tensors are.

    Raises:
        Exception: the first exception that ``work`` raised; parts not yet begun are skipped.
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
            future.exception()  # no thread may still write when the caller continues


def _pool(threads: int) -> ThreadPoolExecutor:
    """Return the threads of this process, started at their first use; a forked child has none of its parent's."""
    key = os.getpid(), threads
    with _lock:
        if key not in _pools:
            ready = threading.Barrier(threads + 1)
            pool = ThreadPoolExecutor(threads, "overlap")
            for _ in range(threads):
                pool.submit(_use_one_thread, ready)
            ready.wait()
            # torch keeps its number of threads per thread, but gives each new thread the number that was set last.
            torch.set_num_threads(torch.get_num_threads())
            _pools[key] = pool
        return _pools[key]


def _use_one_thread(ready: threading.Barrier) -> None:
    torch.get_num_threads()  # the first query in a thread resets its number to the global one, so query before setting
    torch.set_num_threads(1)
    ready.wait()
