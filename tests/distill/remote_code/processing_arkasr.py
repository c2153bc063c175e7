"""Prompt and features, by way of the arguments that the published checkpoints' processor takes."""

import torch
from transformers import BatchFeature
from transformers.processing_utils import ProcessorMixin


class ArkasrProcessor(ProcessorMixin):
    def __init__(self, feature_extractor=None, tokenizer=None, merge_factor=4, audio_token="<|audio|>", **kwargs):
        super().__init__(feature_extractor, tokenizer)
        self.merge_factor, self.audio_token = merge_factor, audio_token

    def apply_chat_template(
        self,
        conversations,
        *,
        return_tensors,
        sampling_rate,
        audio_padding,
        audio_max_length,
        add_generation_prompt,
        text_kwargs,
    ):
        assert return_tensors == "pt"
        prompts, waveforms = [], []
        for (turn,) in conversations:
            audio, request = turn["content"]
            waveforms.append(audio["array"])
            frames = len(audio["array"]) // self.feature_extractor.hop_length
            places = max(1, (frames + 1) // 2 // self.merge_factor)
            prompts.append(
                f"<|user|><|begin_of_audio|>{self.audio_token * places}<|end_of_audio|>{request['text']}"
                + "<|assistant|>" * add_generation_prompt
            )
        features = self.feature_extractor(
            waveforms,
            sampling_rate=sampling_rate,
            padding=audio_padding,
            max_length=audio_max_length,
            return_tensors="pt",
        )
        text = self.tokenizer(prompts, add_special_tokens=False, return_tensors="pt", **text_kwargs)
        # No mask, as the published code has none for prompts of one length.
        return BatchFeature({"input_ids": text["input_ids"], "audios": torch.as_tensor(features["input_features"])})
