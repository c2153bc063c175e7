"""What the diagnostics cost in an on-policy step of the demo.

    python -m tests.benchmarks.bench_diagnostics

Trains 60 on-policy steps of the demo and reads the seconds by phase that every step logs: the share of `measure` in the
step that it is part of, median [quartiles] over the steps after the first ten.
"""

import argparse
import tempfile
from pathlib import Path

from analysis import load
from distill import load_recipe, train
from tests.benchmarks.harness import pin_threads, show, spread

WARM_UP = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    recipe = load_recipe("demo", ["probe.every=1000", "evaluation.every=1000", f"total_steps={options.steps}"])
    pin_threads(recipe.threads or 1)
    # Steps that refuse their rollouts measure nothing: the student has seen no teacher data.
    on_policy = recipe.stages[-1].model_copy(update={"gate": None, "reject": None})
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train(recipe.model_copy(update={"stages": (on_policy,)}), run)
        steps = load(run).metrics.iloc[WARM_UP:]
    phases = steps.filter(like="seconds.")
    total = phases.sum(axis=1).to_numpy()
    rows = [
        [name.removeprefix("seconds."), spread(1000 * phases[name].to_numpy()), spread(phases[name].to_numpy() / total)]
        for name in phases
    ]
    title = f"An on-policy step of the demo by phase, median [quartiles] of {len(steps)} steps of 16 utterances"
    show(title, ["phase", "ms", "share of the step"], rows)


if __name__ == "__main__":
    main()
