"""Configuration of the small audio-conditioned model: a Qwen2 decoder with a Whisper encoder's settings inside."""

from transformers import Qwen2Config, WhisperConfig


class ArkasrConfig(Qwen2Config):
    model_type = "arkasr"

    def __init__(self, whisper_config=None, merge_factor=4, audio_token_id=None, **kwargs):
        super().__init__(**kwargs)
        if isinstance(whisper_config, WhisperConfig):
            whisper_config = whisper_config.to_dict()
        self.whisper_config = WhisperConfig(**(whisper_config or {}))
        self.merge_factor = merge_factor
        self.audio_token_id = audio_token_id

    def to_dict(self):
        return super().to_dict() | {"whisper_config": self.whisper_config.to_dict()}
