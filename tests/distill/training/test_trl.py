"""TRL's distillation trainers give the same losses, step after step, on the same batches from the same weights."""

import functools

import pytest

pytest.importorskip("trl", reason="TRL is not installed: pip install support-overlap[test]")

from tests.distill.training.beside_trl import Comparison, ours, save_manifest, save_pair, trl_distillation, trl_gkd

STEPS, BATCH = 3, 4
# TRL uses names that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    teacher, student = save_pair(folder, vocabulary=1500, hidden=32, layers=(2, 1))
    manifest = save_manifest(folder / "train.jsonl", BATCH, prompt=6, completion=10)
    return {"teacher": teacher, "student": student, "manifest": manifest, "steps": STEPS, "batch_size": BATCH}


@pytest.fixture(scope="module")
def our_losses(pair, tmp_path_factory):
    """Of a divergence on some states; each is trained once."""

    @functools.cache
    def losses(divergence, states):
        return ours(compared(pair, divergence, states), tmp_path_factory.mktemp("ours") / "run").losses

    return losses


def compared(pair, divergence, states) -> Comparison:
    return Comparison(**pair, divergence=divergence, states=states, beta=0.3, lr=1e-2, max_new_tokens=8)


@pytest.mark.parametrize(
    ("theirs", "divergence", "states"),
    [
        (trl_distillation, "forward_kl", "given"),
        (trl_distillation, "reverse_kl", "given"),
        (trl_distillation, "jensen_shannon", "given"),
        (trl_distillation, "jensen_shannon", "written"),
        (trl_gkd, "forward_kl", "given"),
        (trl_gkd, "reverse_kl", "given"),
        (trl_gkd, "jensen_shannon", "given"),
    ],
)
def test_losses_are_trls(pair, our_losses, theirs, divergence, states, tmp_path):
    losses = our_losses(divergence, states)
    assert theirs(compared(pair, divergence, states), tmp_path / "run").losses == pytest.approx(losses, abs=1e-4)
    assert len(losses) == STEPS
    assert min(losses) > 0.05  # so much that 1e-4 says something
    assert losses[-1] < losses[0] - 0.01  # each step is on the same utterances, with trained weights
