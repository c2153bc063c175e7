"""Write the demonstration's model folders: `python -m distill.demo.make_models --output DIR`.

Each folder gets a configuration and a processor (tokenizer, feature extractor, chat template), but no weights: the
recipes `demo_teacher` and `demo_student` train those.
"""

import string
from pathlib import Path

import cyclopts
from transformers import (
    GenerationConfig,
    Qwen2Tokenizer,
    Qwen3ASRConfig,
    Qwen3ASRFeatureExtractor,
    Qwen3ASRProcessor,
)

MEL_BINS = 40

# Byte-level BPE writes the space and the newline bytes as these two printable characters.
CHARACTERS = (*string.ascii_lowercase, *string.ascii_uppercase, *string.digits, "Ġ", "Ċ")
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|audio_start|>",
    "<|audio_pad|>",
    "<|audio_end|>",
    "<asr_text>",
    "<timestamp>",
)
# The prompt's fixed words are one token each, so that a prompt is 13 tokens and the audio.
PROMPT_TOKENS = ("system\n", "user\n", "assistant\n", "language English")

CHAT_TEMPLATE = """\
{%- macro render(content) -%}
{%- if content is string -%}{{ content }}
{%- else -%}
{%- for part in content -%}
{%- if part.type == 'text' -%}{{ part.text }}
{%- elif part.type in ('audio', 'audio_url') -%}<|audio_start|><|audio_pad|><|audio_end|>
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- if messages[0].role != 'system' -%}{{ '<|im_start|>system\\n<|im_end|>\\n' }}{%- endif -%}
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' + render(message.content) + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""


def make_tokenizer() -> Qwen2Tokenizer:
    """Build a Qwen tokenizer of single characters: byte-level BPE without merges over letters, digits and space."""
    tokenizer = Qwen2Tokenizer(
        vocab={character: i for i, character in enumerate(CHARACTERS)},
        merges=[],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=list(SPECIAL_TOKENS),
        model_specific_special_tokens={
            "audio_token": "<|audio_pad|>",
            "audio_bos_token": "<|audio_start|>",
            "audio_eos_token": "<|audio_end|>",
        },
    )
    tokenizer.add_tokens(list(PROMPT_TOKENS))
    return tokenizer


def make_processor() -> Qwen3ASRProcessor:
    """Build the processor that teacher and student share."""
    return Qwen3ASRProcessor(
        feature_extractor=Qwen3ASRFeatureExtractor(feature_size=MEL_BINS),
        tokenizer=make_tokenizer(),
        chat_template=CHAT_TEMPLATE,
    )


def make_config(
    tokenizer: Qwen2Tokenizer,
    *,
    channels: int,
    encoder_width: int,
    encoder_layers: int,
    text_width: int,
    text_layers: int,
    heads: int,
) -> Qwen3ASRConfig:
    """Describe a small Qwen3-ASR model.

    Args:
        tokenizer: Tokenizer of the model.
        channels: Channels of the three downsampling convolutions.
        encoder_width: Width of the audio encoder; its feed-forward layers are twice as wide.
        encoder_layers: Layers of the audio encoder.
        text_width: Width of the decoder; its feed-forward layers are twice as wide.
        text_layers: Layers of the decoder.
        heads: Attention heads of encoder and decoder.

    Returns:
        Configuration of a `Qwen3ASRForConditionalGeneration`.
    """

    def token_id(token: str) -> int:
        found = tokenizer.convert_tokens_to_ids(token)
        assert isinstance(found, int)
        return found

    eos_token_id = [token_id("<|endoftext|>"), token_id("<|im_end|>")]
    # The family's 0.02 is meant for thousands of units. At these widths 2/sqrt(width) learns isolated words several
    # times faster than 1/sqrt(width): audio enters with more of a say against the decoder's own prior.
    initializer_range = round(2 * text_width**-0.5, 3)
    return Qwen3ASRConfig(
        architectures=["Qwen3ASRForConditionalGeneration"],
        audio_config={
            "model_type": "qwen3_asr_encoder",
            "num_mel_bins": MEL_BINS,
            "downsample_hidden_size": channels,
            "d_model": encoder_width,
            "encoder_layers": encoder_layers,
            "encoder_attention_heads": heads,
            "encoder_ffn_dim": 2 * encoder_width,
            "output_dim": text_width,
            "initializer_range": initializer_range,
        },
        text_config={
            "model_type": "qwen3",
            "vocab_size": len(tokenizer),
            "hidden_size": text_width,
            "intermediate_size": 2 * text_width,
            "num_hidden_layers": text_layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "head_dim": text_width // heads,
            "max_position_embeddings": 1024,
            "tie_word_embeddings": True,
            # Sequences are tens of tokens: a short base gives the few frequencies of a narrow head a use.
            "rope_parameters": {"rope_type": "default", "rope_theta": 100.0},
            "initializer_range": initializer_range,
            "pad_token_id": token_id("<|endoftext|>"),
            "eos_token_id": eos_token_id,
        },
        audio_token_id=token_id("<|audio_pad|>"),
        timestamp_token_id=token_id("<timestamp>"),
        pad_token_id=token_id("<|endoftext|>"),
        eos_token_id=eos_token_id,
        initializer_range=initializer_range,
        dtype="float32",
    )


def student_config(tokenizer: Qwen2Tokenizer) -> Qwen3ASRConfig:
    """Describe the student."""
    return make_config(
        tokenizer, channels=16, encoder_width=64, encoder_layers=2, text_width=64, text_layers=2, heads=4
    )


def teacher_config(tokenizer: Qwen2Tokenizer) -> Qwen3ASRConfig:
    """Describe the teacher."""
    return make_config(
        tokenizer, channels=32, encoder_width=128, encoder_layers=4, text_width=128, text_layers=3, heads=4
    )


def make_models(output: Path) -> None:
    """Write `student` and `teacher` folders; weights that lie there already are kept.

    Args:
        output: Folder that receives both.
    """
    processor = make_processor()
    for name, describe in (("student", student_config), ("teacher", teacher_config)):
        folder = output / name
        config = describe(processor.tokenizer)
        processor.save_pretrained(folder)
        config.save_pretrained(folder)
        GenerationConfig(
            do_sample=False, pad_token_id=config.pad_token_id, eos_token_id=config.eos_token_id
        ).save_pretrained(folder)


if __name__ == "__main__":
    cyclopts.run(make_models)
