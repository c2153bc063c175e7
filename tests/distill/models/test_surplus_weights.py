"""Checkpoints that hold more than their configuration says: nothing that a model learned is cut off or misread."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Glm4MoeConfig, Glm4MoeForCausalLM

from distill.models import ModelError, load_recognizer
from tests.distill.small_models import (
    byte_level_tokenizer,
    save_ark_asr,
    save_glm_asr,
    save_gpt2,
    save_llama,
    save_moonshine,
    save_qwen3,
    save_voxtral,
    save_whisper,
)

TEXT = "text_config.num_hidden_layers"
AUDIO = "audio_config.num_hidden_layers"
STACKS = [
    (save_whisper, "decoder_layers", "model.decoder.layers", 2),
    (save_whisper, "encoder_layers", "model.encoder.layers", 1),
    (save_glm_asr, TEXT, "model.language_model.layers", 1),
    (save_voxtral, AUDIO, "model.audio_tower.layers", 1),
    (save_voxtral, TEXT, "model.language_model.layers", 1),
    (save_moonshine, "decoder_num_hidden_layers", "model.decoder.layers", 1),
    (save_ark_asr, "num_hidden_layers", "model.layers", 1),
    (save_gpt2, "n_layer", "transformer.h", 1),
    (save_qwen3, "num_hidden_layers", "model.layers", 1),
    (save_llama, "num_hidden_layers", "model.layers", 1),
]


def reconfigure(folder, key, value) -> None:
    path = folder / "config.json"
    tree = json.loads(path.read_text())
    *outer, name = key.split(".")
    inner = tree
    for part in outer:
        inner = inner[part]
    inner[name] = value
    if "layer_types" in inner:
        inner["layer_types"] = inner["layer_types"][:value]
    path.write_text(json.dumps(tree))


def rewrite(folder, change) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def refused(folder, match) -> str:
    with pytest.raises(ModelError, match=match) as error:
        load_recognizer(str(folder), trust_remote_code=True)
    assert str(folder) in str(error.value)
    return str(error.value)


def copied(tensors, stack, n) -> None:
    """Layers in a checkpoint beside its own."""
    for name, tensor in list(tensors.items()):
        if name.startswith(f"{stack}.0."):
            tensors[name.replace(f"{stack}.0.", f"{stack}.{n}.")] = tensor.clone()


class TestLayers:
    @pytest.mark.parametrize(("save", "key", "stack", "n"), STACKS, ids=lambda value: getattr(value, "__name__", value))
    def test_more_of_them_than_the_configuration_says(self, tmp_path, save, key, stack, n):
        folder = save(tmp_path / "model")
        reconfigure(folder, key, n - 1)
        said = refused(folder, r"more layers than its config\.json says.*Take the config\.json that belongs to these")
        assert f"{stack} has {n} in the files, {n - 1} by config.json" in said

    def test_the_demos_own_student(self, tmp_path):
        recognizer = load_recognizer("demo:student")
        recognizer.generator.save_pretrained(tmp_path)
        recognizer.processor.save_pretrained(tmp_path)
        load_recognizer(str(tmp_path))
        reconfigure(tmp_path, TEXT, 1)
        refused(tmp_path, r"model\.language_model\.layers has 2 in the files, 1 by config\.json")

    def test_the_model_below_the_output_layer_saved_alone(self, tmp_path):
        folder = save_qwen3(tmp_path / "model")
        reconfigure(folder, "tie_word_embeddings", True)
        AutoModelForCausalLM.from_pretrained(folder).model.save_pretrained(folder)
        load_recognizer(str(folder))
        rewrite(folder, lambda tensors: copied(tensors, "layers", 1))
        refused(folder, r"model\.layers has 2 in the files, 1 by config\.json")

    def test_in_shards(self, tmp_path):
        folder = save_whisper(tmp_path / "model")
        model = load_recognizer(str(folder)).generator
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, max_shard_size="40KB")
        assert len(list(folder.glob("model-*.safetensors"))) > 1
        load_recognizer(str(folder))
        reconfigure(folder, "decoder_layers", 1)
        refused(folder, r"model\.decoder\.layers has 2")


class TestNamesThatAreHarmless:
    @pytest.mark.parametrize(
        "name",
        [
            "model.layers.0.self_attn.rotary_emb.inv_freq",
            "mtp.layers.1.weight",
            "talker.model.layers.7.weight",
            "value_head.weight",
            "model.position_ids",
        ],
    )
    def test_beside_the_models_own(self, tmp_path, name):
        folder = save_qwen3(tmp_path / "model")
        rewrite(folder, lambda tensors: tensors.update({name: torch.ones(8)}))
        load_recognizer(str(folder))

    def test_masks_of_older_files(self, tmp_path):
        folder = save_gpt2(tmp_path / "model")
        rewrite(
            folder, lambda tensors: tensors.update({"transformer.h.0.attn.bias": torch.ones(1, 8, dtype=torch.uint8)})
        )
        load_recognizer(str(folder))

    def test_an_output_layer_beside_embeddings_that_it_is_tied_to(self, tmp_path):
        folder = save_gpt2(tmp_path / "model")
        rewrite(folder, lambda tensors: tensors.update({"lm_head.weight": tensors["transformer.wte.weight"].clone()}))
        load_recognizer(str(folder))

    @pytest.fixture
    def several_ahead(self, tmp_path):
        """A decoder of one layer that says that one more, for predicting several tokens, stands behind it."""
        tokenizer = byte_level_tokenizer([], eos_token="<|endoftext|>")
        config = Glm4MoeConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            moe_intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            n_routed_experts=2,
            first_k_dense_replace=1,
            num_nextn_predict_layers=1,
            eos_token_id=tokenizer.eos_token_id,
        )
        Glm4MoeForCausalLM(config).save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        rewrite(tmp_path, lambda tensors: copied(tensors, "model.layers", 1))
        return tmp_path

    def test_layers_that_predict_several_tokens(self, several_ahead):
        load_recognizer(str(several_ahead))

    def test_more_than_those(self, several_ahead):
        rewrite(several_ahead, lambda tensors: copied(tensors, "model.layers", 2))
        refused(several_ahead, r"model\.layers has 3 in the files, 1 by config\.json")


class TestQuantizedWithoutItsSettings:
    @pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.int32, torch.int64])
    @pytest.mark.parametrize("save", [save_whisper, save_qwen3])
    def test_whole_numbers(self, tmp_path, save, kind):
        folder = save(tmp_path / "model")
        name = sorted(
            name
            for name in load_file(folder / "model.safetensors")
            if name.endswith("fc1.weight" if save is save_whisper else "up_proj.weight")
        )[0]

        def quantized(tensors):
            scale = tensors[name].abs().max() / 127
            tensors[name] = (tensors[name] / scale).round().abs().to(kind)

        rewrite(folder, quantized)
        assert name in refused(folder, "quantized weights, such as .* no quantization_config.*a checkpoint that is not")

    def test_eight_bit_floats_beside_their_scales(self, tmp_path):
        folder = save_qwen3(tmp_path / "model")
        name = "model.layers.0.mlp.up_proj.weight"
        rewrite(folder, lambda tensors: tensors.update({name: tensors[name].to(torch.float8_e4m3fn)}))
        load_recognizer(str(folder))
        rewrite(folder, lambda tensors: tensors.update({f"{name}_scale_inv": torch.ones(1, 1)}))
        refused(folder, f"such as {name} as F8_E4M3")

    @pytest.mark.parametrize("archive", [True, False])
    def test_pickled(self, tmp_path, archive):
        folder = save_qwen3(tmp_path / "model")
        tensors = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=archive)
        load_recognizer(str(folder))
        tensors["model.layers.0.mlp.up_proj.weight"] = tensors["model.layers.0.mlp.up_proj.weight"].to(torch.int8)
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=archive)
        refused(folder, r"such as model\.layers\.0\.mlp\.up_proj\.weight as int8")

    def test_in_shards(self, tmp_path):
        folder = save_qwen3(tmp_path / "model")
        model = AutoModelForCausalLM.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, max_shard_size="20KB")
        shard = sorted(folder.glob("model-*.safetensors"))[-1]
        tensors = load_file(shard)
        name = next(name for name in tensors if name.endswith("proj.weight"))
        save_file(tensors | {name: tensors[name].to(torch.int8)}, shard, metadata={"format": "pt"})
        refused(folder, f"such as {name} as I8")
