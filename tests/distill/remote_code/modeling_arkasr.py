"""A Whisper encoder, an adapter that merges four frames into one, and a Qwen2 decoder, as arXiv 2605.28139 describes.

The forward pass takes as little as such code often does: no `logits_to_keep`, no `position_ids`, no further arguments.
"""

import torch
from torch import nn
from transformers import GenerationMixin, Qwen2Model, Qwen2PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from .configuration_arkasr import ArkasrConfig


class AudioMLPAdapter(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.merge_factor = config.merge_factor
        self.whisper = WhisperEncoder(config.whisper_config)
        self.layer_norm = nn.LayerNorm(config.whisper_config.d_model)
        merged = config.whisper_config.d_model * config.merge_factor
        self.adapting = nn.Sequential(
            nn.Linear(merged, 2 * config.hidden_size), nn.GELU(), nn.Linear(2 * config.hidden_size, config.hidden_size)
        )

    def forward(self, audios):
        frames = self.layer_norm(self.whisper(audios).last_hidden_state)
        whole = frames.shape[1] // self.merge_factor
        merged = frames[:, : whole * self.merge_factor].reshape(len(frames), whole, -1)
        return self.adapting(merged)


class ArkasrForConditionalGeneration(Qwen2PreTrainedModel, GenerationMixin):
    config_class = ArkasrConfig

    def __init__(self, config):
        super().__init__(config)
        self.audio_encoder = AudioMLPAdapter(config)
        self.model = Qwen2Model(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        audios=None,
        past_key_values=None,
        inputs_embeds=None,
        use_cache=None,
        return_dict=None,
    ):
        if inputs_embeds is None:
            inputs_embeds = self.model.embed_tokens(input_ids)
        if audios is not None:
            here = input_ids == self.config.audio_token_id
            heard = self.audio_encoder(audios)
            # As many merged frames as the prompt has places; the rest of the window is silence.
            kept = torch.arange(heard.shape[1], device=heard.device) < here.sum(-1, keepdim=True)
            inputs_embeds = inputs_embeds.masked_scatter(here[..., None], heard[kept].to(inputs_embeds.dtype))
        output = self.model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache,
        )
        logits = self.lm_head(output.last_hidden_state)
        return CausalLMOutputWithPast(logits=logits, past_key_values=output.past_key_values)

    def prepare_inputs_for_generation(self, input_ids, past_key_values=None, audios=None, **kwargs):
        inputs = super().prepare_inputs_for_generation(input_ids, past_key_values=past_key_values, **kwargs)
        begun = past_key_values is not None and past_key_values.get_seq_length() > 0
        return inputs | {"audios": None if begun else audios}
