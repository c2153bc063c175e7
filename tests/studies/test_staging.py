"""Does the gate decide between success and collapse? Four ways through the demo's budget of steps, several seeds.

    pytest -m slow tests/studies/test_staging.py -s

takes about 50 minutes. Runs go to `runs/staging` (or `$STAGING_STUDY`), finished ones are not run again. The tables are
written beside them: `staging.csv`, every stage in `staging_stages.csv`, and paired differences in
`staging_differences.csv`. Those that pages quote are in `tests/studies/results`. One arm and seed:
`python -m tests.studies.test_staging gated 0`.
"""

import os
import sys
from pathlib import Path

import pandas as pd
import pytest

from distill import Recipe, load_recipe
from tests.studies.arms import differences, results, run, stage_ends

OUTPUT = Path(os.environ.get("STAGING_STUDY", "runs/staging"))
RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2)
EARLY_SWITCH = 25
ARMS = {
    "gated": "Base → TD until the gate opens → OPD",
    "early": f"Base → TD for {EARLY_SWITCH} steps, whatever the overlap → OPD",
    "direct": "Base → OPD",
    "td": "Base → TD to the end",
}
PAIRS = [("base", "direct"), ("base", "early"), ("base", "gated"), ("early", "gated"), ("td", "gated")]


def arm_recipe(arm: str, seed: int, name: str = "demo") -> Recipe:
    """The demo's recipe, changed in the one thing that the arm is about; the same steps in all."""
    recipe = load_recipe(name, [f"seed={seed}", f"name={arm}"])
    base, td, opd = recipe.stages
    opd = opd.model_copy(update={"gate": None})
    stages = {
        "gated": (base, td, opd),
        "early": (base, td.model_copy(update={"gate": None, "steps": EARLY_SWITCH}), opd),
        "direct": (base, opd),
        "td": (base, td.model_copy(update={"gate": None, "schedule": "cosine"})),  # each arm ends on a falling rate
    }[arm]
    return recipe.model_copy(update={"stages": stages})


def run_arm(arm: str, seed: int) -> Path:
    """Train one arm, or continue or keep what is there."""
    return run(arm_recipe(arm, seed), OUTPUT / f"{arm}-{seed}")


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_the_gated_run_ends_where_an_early_or_no_switch_does_not():
    paths = {(arm, seed): run_arm(arm, seed) for seed in SEEDS for arm in ARMS}
    frame, paired = results(paths), differences(paths, PAIRS)
    frame.to_csv(OUTPUT / "staging.csv", index=False)
    paired.to_csv(OUTPUT / "staging_differences.csv", index=False)
    stage_ends(paths).to_csv(OUTPUT / "staging_stages.csv", index=False)
    print("\n" + frame.to_string(index=False) + "\n\n" + paired.to_string(index=False))
    wer = frame.pivot_table(index="seed", columns="arm", values="WER")
    assert (wer["gated"] < wer["direct"]).all()
    assert (wer["gated"] < wer["early"]).all()


def test_the_readme_quotes_the_results():
    readme = " ".join((Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8").split())
    found, paired = (pd.read_csv(RESULTS / f"{name}.csv") for name in ("staging", "staging_differences"))
    assert {*zip(found["over"], found["n over"], strict=True)} == {("speakers", 40)}
    for _, rows in found.groupby("arm"):
        ends = rows.sort_values("seed")[["WER", "low", "high"]].itertuples(index=False)
        assert " | ".join(percent(*row) for row in ends) in readme
    onward = paired[(paired["first"] == "td") & (paired["second"] == "gated")].sort_values("seed")
    ends = onward[["difference", "low", "high"]].itertuples(index=False)
    assert ", ".join(percent(*row) for row in ends).replace("-", "−") in readme


def percent(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


@pytest.mark.parametrize("arm", ARMS)
def test_arms_differ_in_nothing_but_the_way(arm):
    gated, other = arm_recipe("gated", 3), arm_recipe(arm, 3)
    assert other.total_steps == gated.total_steps
    assert other.stages[0] == gated.stages[0]
    assert other.seed == gated.seed == 3
    unchanged = {"name", "stages"}
    assert other.model_dump(exclude=unchanged) == gated.model_dump(exclude=unchanged)


if __name__ == "__main__":
    run_arm(sys.argv[1], int(sys.argv[2]))
