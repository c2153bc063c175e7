"""Does a student that loops pass a gate? Two copies of Whisper tiny.en, each without one decoder layer.

    pytest -m slow tests/studies/test_looping_students.py -s

takes about 15 minutes on one core. Needs `$RECORDED_SPEECH` as `test_recorded_speech` does, and runs go beside its own.
The table is written there as `looping_students.csv`; pages quote the one in `tests/studies/results`.

*Loops* lacks the third of four layers, as cut: it repeats itself until the limit on its length, and the teacher agrees
with every repetition. *Usable* lacks the second, and is trained briefly on the teacher's transcripts.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from distill import Recipe, load_recipe, read_manifest
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.models.load import load_recognizer
from distill.probing.probe import probe
from distill.recipe import Decoding, SupportSettings
from distill.scoring.pair import Pair
from overlap import Action, Estimate, Gate, Threshold
from tests.studies.arms import run
from tests.studies.looping_limit import LIMIT
from tests.studies.test_recorded_speech import OUTPUT, SOURCE, WINDOW, arm, prepare

LOOPS, USABLE = (0, 1, 3), (0, 2, 3)
SHIPPED = ("demo", "demo_matched", "whisper_tiny_en")
SHOWN = (
    "end_of_text",
    "repetition",
    "top1_agreement",
    "top1_agreement.without_repeats",
    "total_variation",
    "student_mass",
    "teacher_mass",
    "teacher.student_end_likely.at_end",
)


def teacher_data_gate(name: str) -> Gate:
    """Return the gate by which a shipped recipe leaves teacher data."""
    recipe = arm("gated", [], OUTPUT / "data") if name == "whisper_tiny_en" else load_recipe(name)
    return recipe.stages[1].effective_gate.build()


def gate_of_before(name: str) -> Threshold:
    """Return the same gate as it was before termination was read: plain agreement at the same level."""
    gate: Any = teacher_data_gate(name)
    then = gate.gates[0].then
    return Threshold("top1_agreement", at_least=then.at_least)


def readings(student: str, keep: tuple[int, ...] | None) -> dict[str, Estimate]:
    """Probe a student against tiny.en, on its own and on the teacher's transcripts, as training does.

    Args:
        student: Checkpoint.
        keep: Layers of its decoder to keep; None keeps all that it has.
    """
    window = int(WINDOW)
    teacher = load_recognizer(f"{SOURCE}/models/whisper-tiny.en", window_seconds=window)
    cut = load_recognizer(student, window_seconds=None if keep is None else window, keep_decoder_layers=keep)
    pair, source = Pair.from_models(cut, teacher, 16), AudioSource(AudioCache(max_seconds=WINDOW))
    utterances = read_manifest(prepare() / "probe.jsonl")
    found: dict[str, Estimate] = {}
    rollouts = None
    for states, prefix in (("teacher", "teacher."), ("student", "")):
        probed = probe(
            pair,
            source,
            utterances,
            SupportSettings(k=16),
            Decoding(max_new_tokens=LIMIT),
            states=states,
            teacher_rollouts=rollouts,
            batch_size=20,
        )
        rollouts = probed.rollouts
        found |= {f"{prefix}{name}": estimate for name, estimate in probed.readings.items()}
    return found


def briefly_trained() -> Path:
    """Train the usable student for a few steps on the teacher's transcripts, or keep what is there: its checkpoint."""
    model = f"{SOURCE}/models/whisper-tiny.en"
    recipe: Recipe = arm("gated", [f"student.model={model}", f"teacher.model={model}"], prepare())
    td = recipe.stages[1].model_copy(update={"steps": 20, "gate": None})
    student = recipe.student.model_copy(update={"keep_decoder_layers": USABLE})
    update = {"name": "usable", "student": student, "stages": (td,), "probe": None, "total_steps": None}
    return run(recipe.model_copy(update=update), OUTPUT / "usable") / "checkpoints" / "step-000020"


def row_of(label: str, found: dict[str, Estimate]) -> dict[str, Any]:
    """Describe a student: statistics with intervals, and what each shipped gate does, before and now."""
    row: dict[str, Any] = {"student": label, "n": found["end_of_text"].n_groups}
    for name in SHOWN:
        one = found[name]
        row |= {name: one.value, f"{name}.low": one.low, f"{name}.high": one.high}
    for name in SHIPPED:
        row[f"{name} before"] = str(gate_of_before(name).read(found, 100).action)
        row[f"{name} now"] = str(teacher_data_gate(name).read(found, 100).action)
    return row


@pytest.mark.slow
@pytest.mark.timeout(2 * 3600)
@pytest.mark.skipif(SOURCE is None, reason="$RECORDED_SPEECH names no folder with models/whisper-tiny.en and data/read")
def test_gates_hold_the_looping_student_back_and_let_the_usable_one_pass():
    loops = readings(f"{SOURCE}/models/whisper-tiny.en", LOOPS)
    usable = readings(str(briefly_trained()), None)
    rows = [row_of("loops", loops), row_of("usable", usable)]
    pd.DataFrame(rows).to_csv(OUTPUT / "looping_students.csv", index=False)
    print("\n" + pd.DataFrame(rows).T.to_string())
    assert loops["end_of_text"].value < 0.6
    assert loops["top1_agreement"].value >= 0.9
    assert usable["end_of_text"].value >= 0.98
    for name in SHIPPED:
        assert rows[0][f"{name} before"] == str(Action.advance)
        assert rows[0][f"{name} now"] != str(Action.advance)
    assert rows[1]["whisper_tiny_en now"] == str(Action.advance)
