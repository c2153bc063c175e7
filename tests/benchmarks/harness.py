"""What the benchmarks share: interleaved timing, peak memory of a fresh process, and a table with its machine.

Time is compared within a round: every round runs each way once, in rotating order, so that what disturbs the machine
disturbs all of them, and ratios are taken round by round. Reported are medians with the quartiles.
"""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from overlap.estimates.table import text_table


def pin_threads(n: int) -> None:
    """Give torch n threads, here and in the processes that are started from here."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(n)
    torch.set_num_threads(n)


def interleaved(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of every way in every round, after a round that is not counted."""
    names = list(ways)
    seconds = {name: np.zeros(rounds) for name in names}
    for number in range(-1, rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            start = time.perf_counter()
            ways[name]()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if number >= 0:
                seconds[name][number] = time.perf_counter() - start
    return seconds


@contextmanager
def busy(n: int) -> Iterator[None]:
    """Other work on the machine: n processes that do nothing but compute."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def peak_extra_mib(call: Callable[[], object]) -> float:
    """How far the resident memory of this process rises above where it is now, while `call` runs (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far, that of making the inputs
    now = _resident("VmRSS")
    call()
    return (_resident("VmHWM") - now) / 1024


def _resident(field: str) -> int:
    """A line of the process's status, in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0])


def in_fresh_process(module: str, *arguments: object) -> str:
    """Standard output of ``python -m module arguments``."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def spread(values: np.ndarray, digits: int = 3) -> str:
    """Median [lower quartile, upper quartile]."""
    low, middle, high = (f"{value:.{digits}g}" for value in np.quantile(values, [0.25, 0.5, 0.75]))
    return f"{middle} [{low}, {high}]"


def machine() -> str:
    """CPU, GPU if any, threads, versions and load."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), platform.processor())
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{model}, {os.cpu_count()} CPUs{gpu}; torch {torch.__version__}, {torch.get_num_threads()} threads; "
        f"load average {os.getloadavg()[0]:.1f}"
    )


SHOWN: list[dict[str, object]] = []
"""The tables of this process, in order."""


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with its title and machine, and keep it for whoever saves it."""
    SHOWN.append({"title": title, "machine": machine(), "header": list(header), "rows": [list(row) for row in rows]})
    print(f"{title}\n{machine()}\n\n{text_table(list(header), [list(row) for row in rows])}", flush=True)
