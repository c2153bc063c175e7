"""Teachers of 8 bits. torchao makes every start slower where it is installed, so it is in no extra for tests:

pip install -e '.[quantized]' && QUANTIZED=1 pytest tests/distill/models/test_quantized.py
"""

import os
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from distill import train
from distill.recipe import Recipe, Teacher
from distill.scoring.loading import load_teacher
from tests.distill.small_models import save_qwen3, save_whisper

RNG = np.random.default_rng(0)
WAVEFORMS = [RNG.standard_normal(n).astype(np.float32) * 0.1 for n in (9_000, 30_000)]

pytestmark = pytest.mark.skipif(
    not os.environ.get("QUANTIZED") and find_spec("torchao") is None,
    reason="torchao is not installed: pip install -e '.[quantized]'; with $QUANTIZED set this fails instead",
)


@pytest.mark.parametrize("save", [save_whisper, save_qwen3])
def test_scores_stay_near_and_weights_are_bytes(save, tmp_path):
    path = str(save(tmp_path / "teacher"))
    whole, small = (load_teacher(Teacher(model=path, quantize=q), "cpu", k=4) for q in (None, "int8"))
    linear = [m.weight for m in small.generator.modules() if isinstance(m, torch.nn.Linear)]
    assert sum(getattr(weight, "qdata", weight).dtype == torch.int8 for weight in linear) == len(linear) - 1
    inputs = WAVEFORMS if whole.reads == "audio" else ["call", "stop the train"]
    logits = []
    for teacher in (whole, small):
        prompt = teacher.prepare(inputs, [None, None])
        with torch.no_grad():
            logits.append(teacher.score(prompt, teacher.encode(["stop the train", "call"])).log_softmax(-1))
    divergence = (logits[0].exp() * (logits[0] - logits[1])).sum(-1)
    assert 0 < float(divergence.mean()) < 0.01


def test_it_teaches(texts, tmp_path):
    stages = [texts["stages"][2] | {"steps": 2}]
    teacher = texts["teacher"] | {"quantize": "int8"}
    assert train(Recipe.model_validate(texts | {"stages": stages, "teacher": teacher}), tmp_path / "run").step == 2
