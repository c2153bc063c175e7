"""Models whose last hidden states go through layers of their own before the output layer are refused in words."""

import pytest
import torch
from torch import nn

from overlap import Head, measure_hidden

SMALL = {
    "vocab_size": 60,
    "hidden_size": 16,
    "embedding_size": 16,
    "input_embedding_size": 16,
    "output_embedding_size": 12,
    "dim": 16,
    "d_model": 16,
    "intermediate_size": 24,
    "hidden_dim": 24,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "num_hidden_layers": 1,
    "n_layers": 1,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "num_attention_heads": 2,
    "n_heads": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "cls_token_id": 1,
    "sep_token_id": 2,
    "is_decoder": True,
}
TRANSFORMED = (
    "BertLMHeadModel",
    "RobertaForCausalLM",
    "XLMRobertaForCausalLM",
    "CamembertForCausalLM",
    "MegatronBertForCausalLM",
    "RoFormerForCausalLM",
    "Data2VecTextForCausalLM",
    "RobertaPreLayerNormForCausalLM",
    "ModernBertDecoderForCausalLM",
    "ElectraForCausalLM",
    "RemBertForCausalLM",
    "DistilBertForMaskedLM",
    "AlbertForMaskedLM",
    "BertForMaskedLM",
)
PLAIN = ("BertGenerationDecoder", "LlamaForCausalLM", "GPT2LMHeadModel", "BartForCausalLM", "GPTNeoXForCausalLM")


def built(name):
    """A small model of random weights."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    kind = getattr(transformers, name).config_class
    keys = SMALL if name != "GPT2LMHeadModel" else {"vocab_size": 60, "n_embd": 16, "n_layer": 1, "n_head": 2}
    known = vars(kind())
    model = getattr(transformers, name)(kind(**{key: value for key, value in keys.items() if key in known})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


def from_last_states(model, head):
    """The logits of `head` on the base model's last hidden states and the model's own; None where sizes differ."""
    ids = torch.randint(3, 60, (1, 7))
    with torch.no_grad():
        base = model.base_model if model.base_model is not model else model.get_decoder()
        hidden = base(ids).last_hidden_state
        if hidden.shape[-1] != head.size:
            return None
        every = torch.arange(60).expand(7, 60)
        return head.logits_at(hidden[0], every), model(ids).logits[0].float()


@pytest.mark.filterwarnings("ignore")  # transformers' own, of decoders that are no generators
@pytest.mark.parametrize("name", TRANSFORMED)
def test_what_the_layer_does_not_take_is_not_taken_for_it(name):
    model = built(name)
    layer = model.get_output_embeddings()
    found = from_last_states(model, Head.from_layer(layer, "head"))
    assert found is None or not torch.allclose(*found, rtol=1e-3, atol=1e-2)  # it would be wrong
    said = (
        rf"head: the output layer of {name} does not take its last hidden states: they pass through .*dense|transform"
    )
    with pytest.raises(ValueError, match=said):
        Head.from_model(model)
    hidden = torch.zeros(1, 2, 16)
    with pytest.raises(ValueError, match=r"give its logits to overlap.measure, or overlap.Head\(weight, bias\)"):
        measure_hidden(hidden, model, hidden, model, k=4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PLAIN)
def test_what_takes_the_last_states_is_taken(name):
    model = built(name)
    received, expected = from_last_states(model, Head.from_model(model))
    torch.testing.assert_close(received, expected, rtol=1e-4, atol=1e-4)


class Config:
    model_type = "mine"


class Decoder(nn.Module):
    def __init__(self, between=None):
        super().__init__()
        self.model, self.lm_head, self.config = nn.Linear(4, 4), nn.Linear(4, 9), Config()
        self.base_model = self.model
        if between is not None:
            self.between = between

    def get_output_embeddings(self):
        return self.lm_head


class Listener(nn.Module):
    """A decoder in a model that has other parts, as models for speech have."""

    def __init__(self, decoder):
        super().__init__()
        self.audio_tower, self.projector, self.language_model = nn.Linear(4, 4), nn.Linear(4, 4), decoder
        self.config = Config()

    def get_output_embeddings(self):
        return self.language_model.get_output_embeddings()


def test_parts_before_the_decoder_are_no_transform():
    assert Head.from_model(Listener(Decoder())).vocabulary == 9
    with pytest.raises(
        ValueError, match=r"they pass through language_model.between.weight, language_model.between.bias"
    ):
        Head.from_model(Listener(Decoder(nn.LayerNorm(4))))


def test_parameters_of_the_layer_itself_under_another_name_are_no_transform():
    decoder = Decoder(nn.GELU())
    decoder.bias = decoder.lm_head.bias
    assert Head.from_model(decoder).vocabulary == 9


def test_another_model_beside_the_base_model_is_no_transform():
    decoder = Decoder()
    decoder.codec = Decoder()
    assert Head.from_model(decoder).vocabulary == 9
