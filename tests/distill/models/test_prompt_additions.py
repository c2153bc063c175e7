"""What a tokenizer adds to a prompt by itself: a beginning stays and stands there once, an end is left out."""

import pytest
from tokenizers import processors

from distill.models import load_recognizer
from tests.distill.small_models import save_gpt2, save_llama, save_qwen3


def loaded(save, path, template, **options):
    """A model whose tokenizer puts `template` around every text."""
    model = load_recognizer(str(save(path)), options=options)
    tokenizer = model.tokenizer
    marks = {token: tokenizer.convert_tokens_to_ids(token) for token in template.split() if token[0] == "<"}
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=list(marks.items())
    )
    return model, marks


def ids(model, prompt):
    prepared = model.prepare([prompt, f"{prompt} and some more"], [None, None]).inputs
    return prepared["input_ids"][0][prepared["attention_mask"][0].bool()].tolist()


@pytest.mark.parametrize(
    ("save", "template", "beginning"),
    [
        (save_llama, "<s> $A </s>", ["<s>"]),
        (save_llama, "$A </s>", []),
        (save_llama, "<s> $A", ["<s>"]),
        (save_gpt2, "$A <|endoftext|>", []),
        (save_gpt2, "<|endoftext|> $A <|endoftext|>", ["<|endoftext|>"]),
        (save_qwen3, "$A <|im_end|> <|im_end|>", []),
    ],
)
def test_a_plain_prompt_has_a_beginning_and_no_end(save, template, beginning, tmp_path):
    model, marks = loaded(save, tmp_path / "model", template, prompt_format="plain")
    own = model.tokenizer("call the", add_special_tokens=False)["input_ids"]
    assert ids(model, "call the") == [*(marks[token] for token in beginning), *own]


def test_a_chat_begins_once(tmp_path):
    """Its template writes the beginning, and the tokenizer would as well."""
    model, marks = loaded(save_llama, tmp_path / "model", "<s> $A </s>")
    found = ids(model, "call the")
    assert found.count(marks["<s>"]) == 1
    assert found[0] == marks["<s>"]
    assert marks["</s>"] not in found


def test_an_empty_prompt_is_the_beginning_alone(tmp_path):
    model, marks = loaded(save_llama, tmp_path / "model", "<s> $A </s>", prompt_format="plain")
    assert ids(model, "") == [marks["<s>"]]
