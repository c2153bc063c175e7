"""What models do to the logits of their output layer, against the models' own logits."""

import math

import pytest
import torch
from torch import nn

import overlap.core.chunking
from overlap import Head, measure, measure_hidden, union_kl

SMALL = {
    "vocab_size": 60,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MOE = {"num_local_experts": 2, "num_experts_per_tok": 1}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_expand": 2, "mamba_d_state": 4, "mamba_chunk_size": 8}
GEMMA_3N = {
    "vocab_size_per_layer_input": 60,
    "hidden_size_per_layer_input": 8,
    "num_kv_shared_layers": 0,
    "laurel_rank": 4,
    "layer_types": ["full_attention"],
    "activation_sparsity_pattern": [0.0],
    "intermediate_size": [24],
}
MINICPM = {"dim_model_base": 8, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4}
FALCON = {"mamba_d_ssm": 16, "mamba_n_heads": 2, "mamba_d_head": 8, "mamba_d_state": 4, "mamba_n_groups": 1}
MODELS = {  # name: configuration, what of it matters, scale, cap
    "Gemma2ForCausalLM": ("Gemma2Config", {"final_logit_softcapping": 5.0}, 1.0, 5.0),
    "Gemma3ForCausalLM": ("Gemma3TextConfig", {"final_logit_softcapping": 5.0}, 1.0, 5.0),
    "Gemma3nForCausalLM": ("Gemma3nTextConfig", {"final_logit_softcapping": 5.0} | GEMMA_3N, 1.0, 5.0),
    "VaultGemmaForCausalLM": ("VaultGemmaConfig", {"final_logit_softcapping": 5.0}, 1.0, 5.0),
    "NanoChatForCausalLM": ("NanoChatConfig", {"final_logit_softcapping": 5.0}, 1.0, 5.0),
    "RecurrentGemmaForCausalLM": (
        "RecurrentGemmaConfig",
        {"logits_soft_cap": 5.0, "lru_width": 16, "num_hidden_layers": 3},
        1.0,
        5.0,
    ),
    "CohereForCausalLM": ("CohereConfig", {"logit_scale": 0.25}, 0.25, None),
    "Cohere2ForCausalLM": ("Cohere2Config", {"logit_scale": 0.25}, 0.25, None),
    "GraniteForCausalLM": ("GraniteConfig", {"logits_scaling": 4.0}, 0.25, None),
    "GraniteMoeForCausalLM": ("GraniteMoeConfig", {"logits_scaling": 4.0} | MOE, 0.25, None),
    "GraniteMoeSharedForCausalLM": ("GraniteMoeSharedConfig", {"logits_scaling": 4.0} | MOE, 0.25, None),
    "GraniteMoeHybridForCausalLM": (
        "GraniteMoeHybridConfig",
        {"logits_scaling": 4.0, "layer_types": ["attention"]} | MOE | MAMBA,
        0.25,
        None,
    ),
    "FalconH1ForCausalLM": ("FalconH1Config", {"lm_head_multiplier": 0.25, "mamba_chunk_size": 8} | FALCON, 0.25, None),
    "NemotronForCausalLM": ("NemotronConfig", {}, 1.0, None),
    "LlamaForCausalLM": ("LlamaConfig", {}, 1.0, None),
    "Qwen3ForCausalLM": ("Qwen3Config", {}, 1.0, None),
}
LATER = {  # in later versions of transformers than the oldest that this library takes
    "HyperCLOVAXForCausalLM": ("HyperCLOVAXConfig", {"logits_scaling": 0.25}, 0.25, None),
    "MiniCPM3ForCausalLM": ("MiniCPM3Config", MINICPM, 0.5, None),
}


def built(name):
    """A small model with random weights, its last hidden states and its own logits; None if it is not installed."""
    transformers = pytest.importorskip("transformers")
    config_name, more, *_ = (MODELS | LATER)[name]
    if not hasattr(transformers, name):
        return None
    torch.manual_seed(0)
    model = getattr(transformers, name)(getattr(transformers, config_name)(**(SMALL | more))).eval()
    ids = torch.randint(3, 60, (2, 7))
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(8)  # far enough from 0 for a cap to matter
        return model, model.base_model(ids).last_hidden_state, model(ids).logits.float()


@pytest.mark.filterwarnings("ignore")  # transformers' own, of kernels that are not installed
@pytest.mark.parametrize("name", [*MODELS, *LATER])
def test_the_logits_are_the_models_own(name):
    found = built(name)
    if found is None:
        assert name in LATER
        return
    model, hidden, logits = found
    head, (scale, cap) = Head.from_model(model), (MODELS | LATER)[name][2:]
    assert (head.scale, head.softcap) == (scale, cap)
    teacher = logits.roll(1, 1)
    expected = measure(logits, teacher, k=5).values()
    received = measure_hidden(hidden, model, hidden.roll(1, 1), head, k=5).values()
    for statistic, value in expected.items():
        torch.testing.assert_close(received[statistic], value, rtol=1e-3, atol=1e-4, equal_nan=True, msg=statistic)
    without = measure_hidden(hidden, Head(head.weight), hidden.roll(1, 1), Head(head.weight), k=5)
    same = torch.allclose(without.forward_kl, expected["forward_kl"], rtol=1e-2, atol=1e-3)
    assert same == ((scale, cap) == (1.0, None))


def test_a_bias_kept_beside_the_layer():
    transformers = pytest.importorskip("transformers")
    config = transformers.BartConfig(
        vocab_size=60, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=32,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.BartForConditionalGeneration(config).eval()
    assert Head.from_model(model).bias is None
    model.final_logits_bias.copy_(torch.randn(1, 60))
    with torch.no_grad():
        out = model(
            torch.randint(3, 60, (2, 7)), decoder_input_ids=torch.randint(3, 60, (2, 5)), output_hidden_states=True
        )
    head, hidden = Head.from_model(model), out.decoder_hidden_states[-1]
    ids = torch.arange(60).expand(10, 60)
    torch.testing.assert_close(head.logits_at(hidden.reshape(10, 16), ids).detach(), out.logits.reshape(10, 60))


@pytest.mark.parametrize("tail", [False, True])
@pytest.mark.parametrize(("scale", "softcap"), [(0.3, None), (1.0, 2.0), (2.5, 1.5)])
def test_the_objective_and_its_gradient_go_through(monkeypatch, scale, softcap, tail):
    """Against autograd through logits that are scaled and capped step by step, in float64 and several chunks."""
    monkeypatch.setattr(overlap.core.chunking, "TAIL_ELEMENTS", 50)
    torch.manual_seed(1)
    states, weights, biases = (
        [torch.randn(*shape, dtype=torch.float64) for _ in "st"] for shape in ((6, 5), (23, 5), (23,))
    )
    leaves = [x.requires_grad_() for x in (states[0], weights[0], biases[0])]

    def logits(which):
        z = scale * (states[which] @ weights[which].T + biases[which])
        return z if softcap is None else softcap * torch.tanh(z / softcap)

    heads = [Head(w, b, scale, softcap) for w, b in zip(weights, biases, strict=True)]
    got = union_kl(states[0], heads[0], states[1], heads[1], k=4, temperature=2.0, tail=tail, reduction="sum")
    z_s, z_t = logits(0) / 2.0, logits(1) / 2.0
    total = z_s.new_zeros(())
    for n in range(6):
        u = sorted({*z_s[n].topk(4).indices.tolist(), *z_t[n].topk(4).indices.tolist()})
        p, q = (torch.softmax(z[n], 0) for z in (z_s, z_t))
        parts = [(p[u], q[u])]
        if tail:
            parts = [
                (torch.cat([p[u], 1 - p[u].sum(0, keepdim=True)]), torch.cat([q[u], 1 - q[u].sum(0, keepdim=True)]))
            ]
        for a, b in parts:
            a, b = a / a.sum(), b / b.sum()
            total = total + 4.0 * (b * (b / a).log()).sum()
    torch.testing.assert_close(got.loss, total, rtol=1e-9, atol=1e-10)
    for mine, theirs in zip(torch.autograd.grad(got.loss, leaves), torch.autograd.grad(total, leaves), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-9)


class Config:
    model_type = "mine"

    def __init__(self, **keys):
        vars(self).update(keys)


class Model(nn.Module):
    def __init__(self, layer, **keys):
        super().__init__()
        self.layer, self.config = layer, Config(**keys)

    def get_output_embeddings(self):
        return self.layer


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"logits_scaling": 3.0}, r"logits_scaling = 3\.0"),
        ({"final_logit_softcapping": 30.0}, r"final_logit_softcapping = 30\.0"),
        ({"logit_scale": 0.1}, r"logit_scale = 0\.1"),
        ({"output_multiplier": 0.2}, r"output_multiplier = 0\.2"),
        ({"dim_model_base": 256}, "dim_model_base = 256"),
        ({"model_type": "t5"}, "its family, t5"),
    ],
)
def test_a_model_that_may_do_something_unknown_is_refused(keys, said):
    with pytest.raises(ValueError, match=f"head: Model may scale or cap its logits .*{said}.*pass overlap.Head"):
        Head.from_layer(Model(nn.Linear(4, 9), **keys), "student_head")


def test_what_does_nothing_to_the_logits_is_not_refused():
    keys = {"attn_logit_softcapping": 50.0, "logit_scale_init_value": 2.6, "logits_scaling": 1.0, "logit_scale": None}
    layer = nn.Linear(4, 9)
    head = Head.from_layer(
        Model(layer, final_logit_softcapping=None, router_logit_softcap=30.0, **keys), "student_head"
    )
    assert (head.scale, head.softcap, head.bias) == (1.0, None, layer.bias)


def test_layers_that_are_not_linear_are_refused():
    with pytest.raises(ValueError, match=r"student_head: expected a model, torch.nn.Linear, .* received Doubled"):
        Head.from_layer(Doubled(4, 9), "student_head")
    with pytest.raises(ValueError, match=r"head: expected a model whose get_output_embeddings.* Model with Embedding"):
        Head.from_layer(Model(nn.Embedding(4, 9)), "student_head")
    for value in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="head: scale must be a finite number above 0"):
            Head(torch.zeros(3, 2), scale=value)
        with pytest.raises(ValueError, match="head: softcap must be a finite number above 0"):
            Head(torch.zeros(3, 2), softcap=value)
