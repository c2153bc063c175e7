"""Does staging pay on a pretrained recognizer and recorded voices? Whisper tiny.en into half its decoder, four ways.

    pytest -m slow tests/studies/test_recorded_speech.py -s

takes about an hour and a half on one core a seed. Needs `$RECORDED_SPEECH`, a folder with `models/whisper-tiny.en` and
`data/read/{train,probe,test}.jsonl` (speechocean762: short sentences, each line with its `speaker`), and the extra
`text`. Runs go to `runs/recorded-speech` (or `$RECORDED_SPEECH_STUDY`); finished ones are not run again, and the table
is written beside them as `recorded_speech.md`. `$RECORDED_SPEECH_SEEDS` says for which seeds: `0` unless set, or `0 1`.
One arm of one seed: `python -m tests.studies.test_recorded_speech gated 1`.

Every third speaker of `train` is labeled for Base, lower-case and without punctuation. The teacher is tiny.en, its
decoder adapted on the other speakers' sentences in the form that it writes, capitals and full stops. All of `train` is
the unlabeled pool; speakers of `probe` and `test` are others.
"""

import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from distill import Recipe, Utterance, load_recipe, read_manifest, write_manifest
from distill.data.audio import duration
from tests.studies.arms import markdown, results, run

SOURCE = os.environ.get("RECORDED_SPEECH")
OUTPUT = Path(os.environ.get("RECORDED_SPEECH_STUDY", "runs/recorded-speech"))
SEEDS = [int(seed) for seed in os.environ.get("RECORDED_SPEECH_SEEDS", "0").split()]
WINDOW = 10.0
ARMS = {
    "gated": "Base → TD until the gate opens → OPD",
    "td": "Base → TD to the end",
    "direct": "Base → OPD",
    "no tail": "as gated, with the union KL renormalized on the union",
}


def in_the_teachers_form(text: str) -> str:
    """A capital, a full stop, and the pronoun I."""
    text = re.sub(r"\bi\b", "I", text)
    return f"{text[0].upper()}{text[1:]}."


def prepare() -> Path:
    """Write the manifests of the study."""
    assert SOURCE is not None
    data = OUTPUT / "data"

    def read(name: str) -> list[Utterance]:
        utterances = read_manifest(Path(SOURCE) / f"data/read/{name}.jsonl")
        return [utterance for utterance in utterances if duration(utterance) <= WINDOW]

    train = read("train")
    labeled = set(sorted({utterance.extra["speaker"] for utterance in train})[::3])
    others = [utterance for utterance in train if utterance.extra["speaker"] not in labeled]
    write_manifest(data / "base.jsonl", [u for u in train if u.extra["speaker"] in labeled])
    write_manifest(data / "teacher.jsonl", [replace(u, text=in_the_teachers_form(u.text or "")) for u in others])
    write_manifest(data / "pool.jsonl", [replace(u, text=None) for u in train])
    write_manifest(data / "probe.jsonl", read("probe")[::2][:60])
    write_manifest(data / "test.jsonl", read("test"))
    return data


def teacher() -> Path:
    """The adapted teacher's checkpoint."""
    data = prepare()
    overrides = [f"student.model={SOURCE}/models/whisper-tiny.en", "name=teacher"]
    recipe = arm("gated", overrides, data)
    stage = recipe.stages[0].model_copy(
        update={"name": "adapted", "manifest": str(data / "teacher.jsonl"), "steps": 130, "lr": 3e-5, "gate": None}
    )
    student = recipe.student.model_copy(update={"keep_decoder_layers": None})
    update = {"student": student, "stages": (stage,), "teacher": None, "probe": None, "total_steps": None}
    path = run(recipe.model_copy(update=update), OUTPUT / "teacher")
    return path / "checkpoints" / "step-000130"


def arm(name: str, overrides: list[str], data: Path) -> Recipe:
    """The shipped recipe, changed in the one thing that the arm is about; the same steps in all."""
    manifests = ("base", "pool", "pool")
    overrides = overrides + [f"stages.{i}.manifest={(data / f'{m}.jsonl').absolute()}" for i, m in enumerate(manifests)]
    overrides += [
        f"{m}.manifest={(data / f).absolute()}" for m, f in (("probe", "probe.jsonl"), ("evaluation", "test.jsonl"))
    ]
    recipe = load_recipe("whisper_tiny_en", overrides)
    base, td, opd = recipe.stages
    bare = opd.model_copy(update={"gate": None})
    leaking = bare.model_copy(update={"objective": bare.objective.model_copy(update={"tail": False})})
    stages = {
        "gated": (base, td, opd),
        "td": (base, td.model_copy(update={"gate": None})),
        "direct": (base, bare),
        "no tail": (base, td, leaking),
    }[name]
    return recipe.model_copy(update={"stages": stages, "name": name})


def arm_recipe(name: str, seed: int) -> Recipe:
    """The recipe of one arm with one seed; the teacher is the same for all, and is trained first."""
    chosen = teacher()
    overrides = [f"student.model={SOURCE}/models/whisper-tiny.en", f"teacher.model={chosen.absolute()}", f"seed={seed}"]
    # The adapted teacher was saved with the shorter window.
    recipe = arm(name, overrides, OUTPUT / "data")
    assert recipe.teacher is not None
    return recipe.model_copy(update={"teacher": recipe.teacher.model_copy(update={"window_seconds": None})})


def run_arm(name: str, seed: int) -> Path:
    """Train one arm with one seed, or continue or keep what is there."""
    return run(arm_recipe(name, seed), OUTPUT / f"{name.replace(' ', '-')}-{seed}")


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.skipif(SOURCE is None, reason="$RECORDED_SPEECH names no folder with models/whisper-tiny.en and data/read")
def test_on_policy_distillation_beats_teacher_data_on_recorded_speech():
    frame = results({(name, seed): run_arm(name, seed) for seed in SEEDS for name in ARMS})
    (OUTPUT / "recorded_speech.md").write_text(markdown(frame))
    print("\n" + frame.to_string(index=False))
    for _, rows in frame.groupby("seed"):
        wer = rows.set_index("arm")["WER"]
        assert wer["gated"] < rows["WER Base"].iloc[0]
        assert wer["gated"] < wer["td"]
        assert wer["direct"] < wer["td"]  # Base shares enough with this teacher to begin on-policy at once


if __name__ == "__main__":
    run_arm(sys.argv[1], int(sys.argv[2]))
