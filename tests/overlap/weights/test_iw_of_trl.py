"""IW-OPD's weights, loss and gradient are those of TRL's own trainer."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from overlap.weights import iw

pytest.importorskip("trl", reason="TRL is not installed: pip install support-overlap[test]")
pytestmark = [
    pytest.mark.filterwarnings("ignore:You are importing from 'trl.experimental'"),
    # TRL uses names that transformers has renamed.
    pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning"),
]
V = 7


def trls(logits, tokens, labels, teacher_logprobs, gamma):
    """Loss and metrics of one call, without a trainer around it."""
    from trl.experimental.iw_opd import IWOPDTrainer

    metrics = {"train": defaultdict(list)}
    trainer = SimpleNamespace(
        temperature=1.0,
        iw_opd_gamma=gamma,
        iw_opd_epsilon=1e-8,
        model=SimpleNamespace(training=True),
        _metrics=metrics,
    )
    loss = IWOPDTrainer._compute_iw_opd_loss(trainer, logits, tokens, labels, teacher_logprobs)
    return loss, {name: values[0] for name, values in metrics["train"].items()}


@pytest.mark.parametrize("gamma", [0.5, 0.0, 2.0])
@pytest.mark.parametrize("same", [False, True])
def test_weights_are_trls(gamma, same):
    generator = torch.Generator().manual_seed(11)
    lengths = torch.tensor([6, 3, 1, 0])
    mask = torch.arange(6)[None] < lengths[:, None]
    logits = (2 * torch.randn(4, 6, V, generator=generator)).requires_grad_()
    tokens = torch.randint(V, (4, 6), generator=generator)
    log_p = logits.log_softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)
    log_q = log_p.detach().clone() if same else -3 * torch.rand(4, 6, generator=generator)
    theirs, metrics = trls(logits, tokens, tokens.masked_fill(~mask, -100), log_q, gamma)
    weights = iw(log_p, log_q, mask, gamma=gamma)
    there = weights[mask]
    assert metrics["iw_opd/mean_weight"] == pytest.approx(there.mean().item(), rel=1e-5)
    assert metrics["iw_opd/min_weight"] == pytest.approx(there.min().item(), rel=1e-5)
    assert metrics["iw_opd/max_weight"] == pytest.approx(there.max().item(), rel=1e-5)
    # The gradient at a position is its weight times what it would be without weights.
    ours = -(there.float() * (log_q - log_p.detach())[mask] * log_p[mask]).sum() / mask.sum()
    assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    gradients = [torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (ours, theirs)]
    assert_close(*gradients, atol=1e-7, rtol=1e-5)
