"""What the tokens of a trace stand for."""

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from distill.models import load_recognizer
from distill.probing.trace import spelling
from distill.recipe.paths import packaged


def test_bytes_are_what_the_tokenizer_declares():
    tokenizer = load_recognizer(str(packaged("student"))).tokenizer
    ids = tokenizer("call two", add_special_tokens=False)["input_ids"]
    spelled = spelling(tokenizer, range(0))
    assert b"".join(spelled(i) for i in ids) == b"call two"
    assert spelled(tokenizer.eos_token_id) is None
    assert spelled(10**6) is None  # an id past the tokenizer's, of a padded vocabulary


def test_a_tokenizer_that_declares_none_is_asked_for_the_text_of_each_token():
    words = Tokenizer(WordLevel({"two": 0, "五": 1, "</s>": 2, "<0.02>": 3}, unk_token="</s>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>")
    spelled = spelling(tokenizer, range(3, 4))
    assert [spelled(i) for i in range(4)] == [b"two", "五".encode(), None, None]
