"""Weights of zeros: refused where a download was never completed, doubted elsewhere, passed where they begin so."""

import json
import shutil
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from distill.models import ModelError, load_recognizer
from distill.models.zeroed_weights import check_zeros, zero_end
from tests.distill.small_models import save_gpt2, save_moonshine, save_qwen3, save_whisper

SAVED = {"whisper": save_whisper, "moonshine": save_moonshine, "qwen3": save_qwen3, "gpt2": save_gpt2}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return {name: save(folder / name) for name, save in SAVED.items()}


@pytest.fixture(params=SAVED)
def model(request, whole, tmp_path):
    return shutil.copytree(whole[request.param], tmp_path / request.param)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4])
def test_a_file_whose_download_stopped_is_refused(model, share):
    path = model / "model.safetensors"
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    kept = start + int(share * (len(content) - start))
    path.write_bytes(content[:kept] + bytes(len(content) - kept))
    with pytest.raises(
        ModelError, match=rf"{path} ends in [\d,]+ bytes of zeros, over \d+ of its tensors: .* download or"
    ):
        load_recognizer(str(model))


def test_a_matrix_of_zeros_in_the_middle_is_doubted_by_name(model):
    path = model / "model.safetensors"
    tensors = load_file(path)
    name = min(one for one, tensor in tensors.items() if tensor.dim() == 2 and ("layers." in one or "h.0" in one))
    tensors[name].zero_()
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.warns(
        UserWarning, match=rf"matrices that contain only zeros, entirely or in their second half: .*{name}\."
    ):
        load_recognizer(str(model))


def test_the_end_of_a_matrix_at_the_end_of_a_file_is_doubted_with_the_file(whole, tmp_path):
    model = shutil.copytree(whole["gpt2"], tmp_path / "half")
    path = model / "model.safetensors"
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    (begin, end) = max(one["data_offsets"] for name, one in header.items() if name != "__metadata__")
    cut = start + begin + (end - begin) // 3
    assert start + end == len(content)
    path.write_bytes(content[:cut] + bytes(len(content) - cut))
    assert zero_end(path)[1] == 1
    (name,) = (name for name, one in header.items() if one.get("data_offsets") == [begin, end])
    assert len(header[name]["shape"]) == 2
    with pytest.warns(UserWarning, match=rf"{path}, which ends in [\d,]+ bytes of zeros: matrices .*{name}\."):
        load_recognizer(str(model))


def test_what_may_well_be_zero_passes(model):
    path = model / "model.safetensors"
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if tensor.dim() == 1 and name.endswith("bias"):
            tensor.zero_()
        if tensor.dim() == 2 and "embed" in name and "positions" not in name:
            tensor[-3:] = 0.0
            tensor[0] = 0.0
    save_file(tensors, path, metadata={"format": "pt"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_recognizer(str(model))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.gate = nn.Parameter(torch.zeros(4, 4))

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, Gated):
            nn.init.zeros_(module.gate)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight)


def test_gates_that_begin_at_zero_pass_and_others_do_not(tmp_path):
    network = Gated()
    state = torch.random.get_rng_state()
    check_zeros("gated", network, tmp_path)
    nn.init.zeros_(network.inner.weight)
    with pytest.warns(UserWarning, match=r"^gated: matrices .*: inner\.weight\. Trained models rarely have any"):
        check_zeros("gated", network, tmp_path)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not network.inner.weight.any()


@pytest.mark.parametrize(
    ("tensors", "reached"),
    [
        ({"a": torch.ones(40, 40), "b": torch.ones(40, 40)}, 0),
        ({"a": torch.ones(40, 40), "b": torch.zeros(40, 40)}, 1),
        ({"a": torch.cat([torch.ones(20, 40), torch.zeros(20, 40)]), "b": torch.zeros(40, 40)}, 2),
        ({"a": torch.full((40, 40), 2.0**-126), "b": torch.zeros(8, 8)}, 1),
    ],
)
def test_tensors_that_the_zeros_at_the_end_reach(tmp_path, tensors, reached):
    path = tmp_path / "x.safetensors"
    save_file(tensors, path)
    zeros = path.read_bytes()
    assert zero_end(path) == (len(zeros) - len(zeros.rstrip(b"\0")), reached)
