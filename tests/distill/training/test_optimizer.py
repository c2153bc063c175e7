"""Weight decay reaches matrices alone, a warm-up begins above zero, and state of both groups comes back."""

import copy
import json

import peft
import pytest
import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, get_scheduler

from distill import TrainingError, train
from distill.models import load_recognizer
from distill.recipe import Recipe
from distill.training.optimization import Optimization
from distill.training.parameter_groups import parameter_groups
from distill.training.schedule import share_of_lr
from tests.distill.small_models import save_glm_asr, save_gpt2, save_moonshine, save_qwen3, save_voxtral, save_whisper

SAVERS = {
    "whisper": save_whisper,
    "glm_asr": save_glm_asr,
    "qwen3": save_qwen3,
    "gpt2": save_gpt2,
    "moonshine": save_moonshine,
    "voxtral": save_voxtral,
}


def decayed(model, weight_decay=0.1):
    """Names of the parameters that decay, and of those that do not."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, weight_decay)
    found = {True: set(), False: set()}
    for group in groups:
        found[group["weight_decay"] > 0] |= {names[id(parameter)] for parameter in group["params"]}
    return found[True], found[False]


@pytest.mark.parametrize("family", SAVERS)
def test_what_decays_is_what_transformers_trainer_decays_but_embeddings(family, tmp_path):
    model = load_recognizer(SAVERS[family](tmp_path / family)).generator.requires_grad_(True)
    arguments = TrainingArguments(output_dir=str(tmp_path / "unused"), report_to=[], use_cpu=True)
    theirs = set(Trainer(model=model, args=arguments).get_decay_parameter_names(model))
    embeddings = {
        f"{path}.weight" for path, module in model.named_modules(remove_duplicate=False) if type(module) is nn.Embedding
    } | {name for name in theirs if "embed_positions" in name}
    # Its rule goes by torch's classes and by name; GPT-2 calls its norms ln_1, which have one dimension.
    shared = {name for name, parameter in model.named_parameters() if parameter.ndim < 2}
    yes, no = decayed(model)
    assert yes == {name for name, _ in model.named_parameters()} & theirs - embeddings - shared
    assert yes | no == {name for name, _ in model.named_parameters()}
    assert not yes & no


def test_a_tied_output_layer_is_an_embedding_and_one_of_its_own_is_not():
    sizes = {"vocab_size": 20, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 1, "num_key_value_heads": 1}
    tied = LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=True))
    apart = LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=False))
    assert "model.embed_tokens.weight" in decayed(tied)[1]
    assert "lm_head.weight" in decayed(apart)[0]


def test_norms_of_two_dimensions_biases_of_heads_and_positions_without_a_module_do_not_decay():
    class HouseRMSNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2, 3))

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.pos_bias_u = nn.Parameter(torch.zeros(2, 3))
            self.position_embeddings = nn.Parameter(torch.zeros(1, 4, 3))
            self.kernel = nn.Parameter(torch.zeros(3, 3))
            self.conv = nn.Conv1d(2, 2, 3)
            self.norms = nn.ModuleList([nn.LayerNorm((2, 3)), HouseRMSNorm(), nn.BatchNorm1d(2), nn.GroupNorm(1, 2)])
            self.bag = nn.EmbeddingBag(3, 2)
            self.frozen = nn.Linear(2, 2).requires_grad_(False)

    yes, no = decayed(Attention())
    assert yes == {"kernel", "conv.weight"}
    assert not any(name.startswith("frozen") for name in yes | no)


def test_lora_factors_decay_and_are_one_group(tmp_path):
    model = load_recognizer(save_qwen3(tmp_path / "chat")).generator
    peft.inject_adapter_in_model(peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"]), model)
    (group,) = parameter_groups(model, 0.1)
    assert group["weight_decay"] == 0.1
    assert len(group["params"]) == 4


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
@pytest.mark.parametrize(("warmup", "horizon"), [(0, 7), (3, 7), (1, 1), (9, 7), (0, 1)])
def test_schedules_are_those_of_transformers_after_a_warm_up_that_begins_above_zero(schedule, warmup, horizon):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    name = "constant_with_warmup" if schedule == "constant" else schedule  # theirs has no warm-up as "constant"
    theirs = get_scheduler(name, optimizer, warmup, horizon)
    expected = []
    for _ in range(horizon):
        expected += theirs.get_last_lr()
        optimizer.step()
        theirs.step()
    own = [share_of_lr(step, schedule=schedule, warmup_steps=warmup, horizon=horizon) for step in range(horizon)]
    assert own[warmup:] == pytest.approx(expected[warmup:], abs=1e-12)
    assert min(own) > 0
    rising = [*own[:warmup], *own[warmup : warmup + 1]]
    assert torch.tensor(rising).diff().allclose(torch.tensor(1 / (warmup + 1)))


def test_the_first_step_of_a_run_moves_weights_and_decays_no_norm(texts, tmp_path):
    path = texts["student"]["model"]
    before = load_recognizer(path).generator.state_dict()
    # Gradients are clipped to nothing, so that what moves a weight beyond Adam's step is decay: lr · decay = 0.5.
    stage = texts["stages"][0] | {"steps": 1, "lr": 1e-5, "weight_decay": 1e5, "warmup_steps": 1}
    result = train(Recipe.model_validate(texts | {"stages": [stage]}), tmp_path / "run")
    (row,) = [json.loads(line) for line in (result.path / "metrics.jsonl").read_text().splitlines()]
    assert row["lr"] == pytest.approx(5e-6)
    after = load_recognizer(result.model).generator.state_dict()
    halved = {name for name in before if torch.allclose(after[name], before[name] / 2, atol=1e-4)}
    assert halved == {name for name in before if name.endswith("proj.weight")} | ({"lm_head.weight"} & halved)
    for name in before.keys() - halved:
        torch.testing.assert_close(after[name], before[name], atol=1e-4, rtol=0)


def test_state_of_both_groups_comes_back_bit_for_bit(texts):
    stage = Recipe.model_validate(texts).stages[0].model_copy(update={"weight_decay": 0.1, "warmup_steps": 3})
    model = load_recognizer(texts["student"]["model"]).generator.requires_grad_(True)
    accelerator = Accelerator(cpu=True)

    def go(optimization, network, steps):
        for step in steps:
            torch.manual_seed(step)
            for parameter in network.parameters():
                parameter.grad = torch.randn_like(parameter)
            optimization.step()

    first = Optimization(model, stage, 8, accelerator)
    go(first, model, range(3))
    again = copy.deepcopy(model)
    state = copy.deepcopy(first.state_dict())  # on a CPU its tensors are the live ones
    go(first, model, range(3, 6))
    go(Optimization(again, stage, 8, accelerator, state), again, range(3, 6))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name)), name


def test_state_of_a_version_that_had_one_group_is_refused_in_words(texts):
    stage = Recipe.model_validate(texts).stages[0]
    model = load_recognizer(texts["student"]["model"]).generator.requires_grad_(True)
    state = Optimization(model, stage, 8, Accelerator(cpu=True)).state_dict()
    (kept, *_), n = state["optimizer"]["param_groups"], len(state["optimizer"]["param_groups"])
    assert n == 2
    state["optimizer"]["param_groups"] = [kept]
    with pytest.raises(TrainingError, match=r"has 1 group of parameters, this version makes 2: .* start a new run"):
        Optimization(model, stage, 8, Accelerator(cpu=True), state)


@pytest.fixture
def mesh(tmp_path):
    """A process group of this process alone."""
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore::FutureWarning:torch.distributed")
def test_shards_are_grouped_as_the_whole_and_their_state_comes_back(mesh, tmp_path):
    model = load_recognizer(save_qwen3(tmp_path / "chat")).generator.requires_grad_(True)
    whole = decayed(model)
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
    assert decayed(model) == whole
    stage = Recipe.model_validate(
        {"student": {"model": "m"}, "stages": [{"type": "sft", "name": "s", "manifest": "m", "steps": 8}]}
    ).stages[0]
    stage = stage.model_copy(update={"weight_decay": 0.1, "warmup_steps": 2})
    first = Optimization(model, stage, 8, Accelerator(cpu=True))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    first.step()
    state = copy.deepcopy(first.state_dict())
    assert {tuple(sorted(group["params"])) for group in state["optimizer"]["param_groups"]} == {
        tuple(sorted(names)) for names in whole
    }
    again = Optimization(model, stage, 8, Accelerator(cpu=True), state).state_dict()
    for name, moments in state["optimizer"]["state"].items():
        assert torch.equal(again["optimizer"]["state"][name]["exp_avg"], moments["exp_avg"])
    assert [group["weight_decay"] for group in again["optimizer"]["param_groups"]] == [0.1, 0.0]
