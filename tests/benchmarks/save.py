"""Run a benchmark and write its tables to `tests/benchmarks/results`.

python -m tests.benchmarks.save bench_measure --rounds 3
"""

import importlib
import json
import sys
from pathlib import Path

from tests.benchmarks import harness

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    name, *options = sys.argv[1:]
    sys.argv = [name, *options]
    importlib.import_module(f"tests.benchmarks.{name}").main()
    command = " ".join(["python -m tests.benchmarks.save", name, *options])
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"command": command, "tables": harness.SHOWN}, indent=1, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
