"""What makes each region, by its name."""

from tests.pages import code, measured, runs, studies, termination
from tests.pages.regions import Maker

MAKERS: dict[str, Maker] = {
    "benchmark": measured.benchmark,
    "coverage": studies.coverage,
    "demo in words": runs.demo_in_words,
    "demo models": runs.demo_models,
    "demo table": runs.demo_table,
    "exit codes": code.exit_codes,
    "figures": code.figures,
    "five numbers": code.five_numbers,
    "gated stages": studies.stages,
    "interval coverage": studies.interval_coverage,
    "levels of agreement": code.levels_of_agreement,
    "looping students": termination.looping_students,
    "soft switches": code.soft_switches,
    "matched stages": studies.matched,
    "recorded speech": studies.recorded_speech,
    "saturation": studies.saturation,
    "schedules": studies.schedules,
    "sound runs": termination.sound_runs,
    "step shares": measured.step_shares,
    "stopped runs": termination.stopped_runs,
    "switch findings": studies.switch_findings,
    "tail": studies.tail,
    "what the switch decides": studies.in_short,
}
