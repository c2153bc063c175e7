"""Checkpoints that are not whole or do not fit: refused by name with the remedy, never filled with random numbers."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from distill import train
from distill.locations import packaged
from distill.models import ModelError, load_recognizer
from distill.models.files import damage
from distill.models.lora import add_adapters
from distill.recipe import Recipe
from distill.teacher.local_tokenizer import load_reader
from tests.distill.small_models import save_ark_asr, save_gpt2, save_moonshine, save_qwen3, save_whisper
from tests.distill.test_cli import run

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 697560\n"
SAVED = {"whisper": save_whisper, "moonshine": save_moonshine, "qwen3": save_qwen3, "ark": save_ark_asr}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One checkpoint a family: tied output layers and not, speech and text, code of its own."""
    folder = tmp_path_factory.mktemp("whole")
    return {name: save(folder / name) for name, save in SAVED.items()}


@pytest.fixture(params=SAVED)
def copy(request, whole, tmp_path):
    return shutil.copytree(whole[request.param], tmp_path / request.param)


@pytest.fixture
def text(whole, tmp_path):
    return shutil.copytree(whole["qwen3"], tmp_path / "a text model")


def rewrite(folder, change) -> None:
    """Change the tensors of a checkpoint, by name."""
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def refused(folder, match):
    with pytest.raises(ModelError, match=match) as error:
        load_recognizer(str(folder), trust_remote_code=True)
    assert str(folder) in str(error.value)
    return str(error.value)


def middle(tensors):
    """The name of some weight of some layer."""
    return sorted(name for name in tensors if "layers." in name and name.endswith("weight"))[1]


class TestWeightsThatDoNotFit:
    def test_one_that_is_missing_is_named(self, copy):
        name = middle(load_file(copy / "model.safetensors"))
        rewrite(copy, lambda tensors: {n: t for n, t in tensors.items() if n != name})
        assert name in refused(copy, "lack weights that its architecture has, which would be random")

    @pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
    def test_names_from_inside_a_wrapper(self, copy, prefix):
        rewrite(copy, lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()})
        refused(copy, f"names that begin with '{prefix}': .* take that beginning off the names")

    def test_weights_of_something_else(self, text):
        save_file({"weight": torch.zeros(3)}, text / "model.safetensors", metadata={"format": "pt"})
        refused(text, r"config\.json that belongs to these weights \(they have 1 others, such as weight\)")

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
    def test_one_number_that_is_not_finite(self, copy, bad):
        name = middle(load_file(copy / "model.safetensors"))

        def poison(tensors):
            tensors[name].view(-1)[5] = bad
            return tensors

        rewrite(copy, poison)
        refused(copy, f"hold NaN or infinite numbers: {name}.*take an earlier checkpoint")

    def test_finite_numbers_whose_sum_is_not_are_no_fault(self, text):
        def large(tensors):
            tensors[middle(tensors)].fill_(3e38)
            return tensors

        rewrite(text, large)
        load_recognizer(str(text))

    def test_other_shapes(self, text):
        config = json.loads((text / "config.json").read_text())
        size = config["intermediate_size"]
        (text / "config.json").write_text(json.dumps(config | {"intermediate_size": 2 * size}))
        refused(text, r"other shapes than its config\.json says: model\.layers\.0\.mlp\.\w+\.weight is \[.*, not \[")

    def test_a_tokenizer_with_words_that_the_model_cannot_write(self, text):
        tokenizer = AutoTokenizer.from_pretrained(text)
        tokenizer.add_tokens([f"word{i}" for i in range(9)])
        tokenizer.save_pretrained(text)
        refused(text, r"its tokenizer has \d tokens that its output layer of \d+ rows cannot write, such as 'word\d'")

    def test_control_tokens_past_the_output_layer_are_published_and_pass(self, text):
        model = AutoModelForCausalLM.from_pretrained(text)
        tokenizer = AutoTokenizer.from_pretrained(text)
        missing = model.config.vocab_size - len(tokenizer) + 2
        tokenizer.add_special_tokens({"additional_special_tokens": [f"<|more{i}|>" for i in range(missing)]})
        tokenizer.save_pretrained(text)
        loaded = load_recognizer(str(text))
        assert len(loaded.tokenizer) > loaded.tokens.size == model.config.vocab_size
        assert loaded.decode(loaded.encode(["stop the train"])) == ["stop the train"]

    def test_whole_ones_load(self, copy):
        load_recognizer(str(copy), trust_remote_code=True)


class TestFiles:
    @pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
    def test_a_pointer_in_place_of_a_file(self, text, file):
        (text / file).write_text(POINTER)
        refused(text, rf"{file} is a pointer of Git LFS in place of the file; run `git lfs pull`")

    def test_a_pointer_of_git_annex(self, text):
        (text / "model.safetensors").write_text("/annex/objects/SHA256E-s697560--" + "0" * 64 + ".safetensors\n")
        refused(text, r"model\.safetensors is a pointer of git-annex .*`git annex get`")

    @pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
    @pytest.mark.parametrize("keep", [0.6, 0.0])
    def test_a_file_that_was_cut(self, text, file, keep):
        content = (text / file).read_bytes()
        (text / file).write_bytes(content[: int(keep * len(content))])
        refused(text, rf"{file} is {'cut short or damaged' if keep else 'empty'}.*; download or copy it again")

    def test_a_link_to_nowhere(self, text):
        (text / "model.safetensors").unlink()
        (text / "model.safetensors").symlink_to("../blobs/gone")
        refused(text, r"model\.safetensors is a link to \.\./blobs/gone, where there is nothing; fetch that")

    @pytest.fixture
    def shards(self, text):
        model = AutoModelForCausalLM.from_pretrained(text)
        (text / "model.safetensors").unlink()
        model.save_pretrained(text, max_shard_size="20KB")
        load_recognizer(str(text))
        return sorted(text.glob("model-*.safetensors"))

    def test_a_shard_that_is_missing(self, shards, text):
        shards[1].unlink()
        refused(text, rf"lacks {shards[1].name}, of the {len(shards)} files that model\.safetensors\.index\.json lists")

    def test_a_shard_that_was_cut(self, shards, text):
        shards[1].write_bytes(shards[1].read_bytes()[:-50])
        refused(text, rf"{shards[1].name} is cut short or damaged")

    def test_a_shard_without_what_the_index_says(self, shards, text):
        tensors = load_file(shards[1])
        gone = sorted(tensors)[0]
        save_file({"other": torch.zeros(1)}, shards[1], metadata={"format": "pt"})
        assert gone in refused(text, "lack weights that its architecture has")

    @pytest.mark.parametrize("keep", [3000, 0])
    def test_a_pickled_file_that_was_cut(self, text, keep):
        model = AutoModelForCausalLM.from_pretrained(text)
        (text / "model.safetensors").unlink()
        file = text / "pytorch_model.bin"
        torch.save(model.state_dict(), file)
        load_recognizer(str(text))
        file.write_bytes(file.read_bytes()[:keep])
        refused(text, rf"pytorch_model\.bin is {'cut short or damaged' if keep else 'empty'}")
        file.write_text(POINTER)
        refused(text, r"pytorch_model\.bin is a pointer of Git LFS")

    @pytest.mark.parametrize("name", ["whisper", "qwen3"])
    def test_without_its_tokenizer(self, whole, tmp_path, name):
        folder = shutil.copytree(whole[name], tmp_path / name)
        (folder / "tokenizer.json").unlink()
        refused(folder, r"tokenizer\.json \(or .*\) is missing|lacks tokenizer\.json \(or ")

    def test_the_local_half_of_a_served_teacher(self, student_path, tmp_path):
        folder = shutil.copytree(student_path, tmp_path / "served")
        (folder / "model.safetensors").write_text(POINTER)  # its weights need not be here
        load_reader(str(folder))
        content = (folder / "tokenizer.json").read_bytes()
        (folder / "tokenizer.json").write_bytes(content[:1000])
        with pytest.raises(ModelError, match=r"cannot load the tokenizer of .*tokenizer\.json is cut short or damaged"):
            load_reader(str(folder))
        (folder / "tokenizer.json").unlink()
        with pytest.raises(ModelError, match=r"no vocabulary, .*tokenizer\.json \(or .*\) is missing"):
            load_reader(str(folder))

    def test_nothing_is_wrong_with_whole_folders(self, copy):
        assert damage(copy) is None


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks by the older name
class TestAdapters:
    @pytest.fixture
    def base(self, tmp_path):
        return save_gpt2(tmp_path / "base")

    @pytest.fixture
    def adapter(self, base, tmp_path):
        config = LoraConfig(target_modules=["c_attn"], fan_in_fan_out=True)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
        model.save_pretrained(tmp_path / "adapter")
        return tmp_path / "adapter"

    def test_a_folder_of_an_adapter(self, adapter):
        refused(adapter, "holds a LoRA adapter, not a model: merge it into its base with peft")

    def test_one_with_its_bases_files_beside_it(self, adapter, base):
        for file in base.iterdir():
            shutil.copy(file, adapter)
        refused(adapter, "holds a LoRA adapter, not a model")

    def test_one_inside_a_checkpoint_of_a_run(self, adapter, base):
        inside = shutil.copytree(adapter, base / "adapter")
        refused(inside, f"give the merged model '{base}'")

    def test_none_goes_on_the_output_layer(self, base):
        student = load_recognizer(str(base))
        with pytest.raises(ModelError, match=r"target_modules has 'lm_head', the output layer.*leave it out"):
            add_adapters(student, rank=1, alpha=1.0, target_modules=("c_attn", "lm_head"))


class TestWhoeverAsks:
    """Every place that a model is named in refuses before it works."""

    @pytest.fixture
    def broken(self, teacher_path, tmp_path):
        folder = shutil.copytree(teacher_path, tmp_path / "broken")
        name = middle(load_file(folder / "model.safetensors"))
        rewrite(folder, lambda tensors: {n: t for n, t in tensors.items() if n != name})
        return folder

    @pytest.mark.parametrize("who", ["student", "teacher"])
    def test_a_run(self, mini, broken, tmp_path, who):
        mini[who] = {"model": str(broken)}
        with pytest.raises(ModelError, match="would be random"):
            train(Recipe.model_validate(mini), tmp_path / "run")
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("verb", "flag"),
        [
            ("evaluate", "--model"),
            ("probe", "--student"),
            ("probe", "--teacher"),
            ("show", "--teacher"),
            ("transcribe", "--teacher"),
        ],
    )
    def test_the_command_line(self, broken, teacher_path, manifests, tmp_path, capsys, verb, flag):
        arguments = {flag: broken, "--manifest": manifests["test"]}
        if verb in ("probe", "show"):
            arguments = {"--student": teacher_path, "--teacher": teacher_path} | arguments
        if verb == "transcribe":
            arguments["--output"] = tmp_path / "out.jsonl"
        code, out, err = run(verb, *(word for pair in arguments.items() for word in pair), capsys=capsys)
        assert (code, out) == (1, "")
        assert "would be random" in err
        assert "Traceback" not in err
        assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        (("tokenizer_config.json",), "lacks tokenizer_config.json; copy it there"),
        (
            ("tokenizer.json", "tokenizer_config.json"),
            r"lacks tokenizer.json \(or vocab.json, .*\), tokenizer_config.json;",
        ),
        (("processor_config.json",), r"lacks processor_config.json \(or preprocessor_config.json\); copy it there"),
        (("config.json",), "lacks config.json; copy it there"),
    ],
)
def test_a_file_that_was_not_copied_is_named(gone, words, tmp_path):
    folder = shutil.copytree(packaged("student"), tmp_path / "student")
    for name in gone:
        (folder / name).unlink()
    refused(folder, words)
    with pytest.raises(ModelError, match=words):
        load_reader(str(folder))


def test_weights_that_were_not_copied_are_not_blamed_on_the_tokenizer(tmp_path):
    folder = shutil.copytree(packaged("student"), tmp_path / "student")
    (folder / "model.safetensors").unlink()
    assert "lacks" not in refused(folder, "model.safetensors")
