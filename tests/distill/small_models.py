"""Checkpoints of the real architectures at small size, written to disk as `from_pretrained` expects them."""

import base64
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    GenerationConfig,
    GlmAsrConfig,
    GlmAsrForConditionalGeneration,
    GlmAsrProcessor,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MoonshineConfig,
    MoonshineForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    VoxtralConfig,
    VoxtralForConditionalGeneration,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tests.distill.remote_code.configuration_arkasr import ArkasrConfig
from tests.distill.remote_code.modeling_arkasr import ArkasrForConditionalGeneration
from tests.distill.remote_code.processing_arkasr import ArkasrProcessor

WINDOW_SECONDS = 4
MERGES = [("t", "h"), ("Ġ", "th"), ("Ġ", "s"), ("e", "r")]
LANGUAGES = ("en", "zh", "de")


def whisper_tokenizer(*, multilingual: bool, merges=MERGES) -> WhisperTokenizer:
    """Bytes, a few merges, then the control tokens in the order of the published vocabularies."""
    vocabulary = [*bytes_to_unicode().values(), *("".join(pair) for pair in merges)]
    tokenizer = WhisperTokenizer(vocab={token: i for i, token in enumerate(vocabulary)}, merges=merges)
    control = ["<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES if multilingual)]
    control += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": [*control, "<|notimestamps|>"]})
    return tokenizer


def save_whisper(path: Path, *, multilingual: bool = False, layers: int = 2, seed: int = 0, merges=MERGES) -> Path:
    """A Whisper of two layers on a window of four seconds."""
    tokenizer = whisper_tokenizer(multilingual=multilingual, merges=merges)
    ids = tokenizer.convert_tokens_to_ids
    timestamps = 50 * WINDOW_SECONDS // 2 + 1  # ids past the tokenizer, as in the published checkpoints
    config = WhisperConfig(
        vocab_size=len(tokenizer) + timestamps,
        num_mel_bins=16,
        d_model=32,
        encoder_layers=1,
        decoder_layers=layers,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_source_positions=50 * WINDOW_SECONDS,
        max_target_positions=48,
        bos_token_id=ids("<|endoftext|>"),
        eos_token_id=ids("<|endoftext|>"),
        pad_token_id=ids("<|endoftext|>"),
        decoder_start_token_id=ids("<|startoftranscript|>"),
        begin_suppress_tokens=None,
        init_std=0.3,
    )
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
        begin_suppress_tokens=[config.eos_token_id],
        suppress_tokens=[1],
        max_length=48,
        no_timestamps_token_id=ids("<|notimestamps|>"),
        is_multilingual=multilingual,
        lang_to_id={f"<|{code}|>": ids(f"<|{code}|>") for code in LANGUAGES} if multilingual else {},
        task_to_id={"transcribe": ids("<|transcribe|>"), "translate": ids("<|translate|>")},
    )
    model.save_pretrained(path)
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=WINDOW_SECONDS)
    WhisperProcessor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(path)
    return path


GLM_TEMPLATE = """\
{%- for message in messages -%}
<|{{ message.role }}|>
{% for part in message.content -%}
{%- if part.type == 'audio' -%}<|begin_of_audio|><|pad|><|end_of_audio|><|user|>
{% else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>
{% endif -%}
"""


def byte_level_tokenizer(control: list[str], merges=MERGES, **names: str) -> PreTrainedTokenizerFast:
    """Bytes, a few merges and control tokens."""
    vocabulary = [*bytes_to_unicode().values(), *("".join(pair) for pair in merges)]
    backend = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(vocabulary)}, merges=list(merges)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    tokenizer.add_special_tokens({"additional_special_tokens": control})
    return tokenizer


def save_glm_asr(path: Path, *, layers: int = 1, seed: int = 0) -> Path:
    """A GLM-ASR of one encoder layer."""
    control = ["<|user|>", "<|assistant|>", "<|observation|>", "<|begin_of_audio|>", "<|end_of_audio|>", "<|pad|>"]
    tokenizer = byte_level_tokenizer(control, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    ids = tokenizer.convert_tokens_to_ids
    ends = [ids(token) for token in ("<|endoftext|>", "<|user|>", "<|observation|>")]
    config = GlmAsrConfig(
        audio_config={
            "num_mel_bins": 16,
            "hidden_size": 32,
            "intermediate_size": 128,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 50 * WINDOW_SECONDS,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokenizer) + 3,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": layers,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "eos_token_id": ends,
            "initializer_range": 0.3,
        },
        audio_token_id=ids("<|pad|>"),
    )
    torch.manual_seed(seed)
    model = GlmAsrForConditionalGeneration(config)
    model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=ends[0])
    model.save_pretrained(path)
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=WINDOW_SECONDS)
    GlmAsrProcessor(feature_extractor=extractor, tokenizer=tokenizer, chat_template=GLM_TEMPLATE).save_pretrained(path)
    return path


CHATML = """\
{%- for message in messages -%}
{%- if message.role not in ('system', 'user', 'assistant') -%}
{{- raise_exception('no role ' + message.role) -}}
{%- endif -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking is false -%}<think>

</think>

{% endif -%}
{%- endif -%}
"""

INST = """\
{{- bos_token -}}
{%- for message in messages -%}
{%- if message.role == 'user' -%}[INST] {{ message.content }} [/INST]
{%- else -%}{{ message.content }}{{ eos_token }}{%- endif -%}
{%- endfor -%}
"""


def save_qwen3(path: Path, *, seed: int = 0, merges=MERGES, template: str | None = CHATML) -> Path:
    """A chat model of one layer: two ends of text, thinking marks that are no special tokens, its own penalties."""
    tokenizer = byte_level_tokenizer(
        ["<|im_start|>", "<|im_end|>"], merges, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.chat_template = template
    ids = tokenizer.convert_tokens_to_ids
    config = Qwen3Config(
        vocab_size=len(tokenizer) + 5,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=320,
        initializer_range=0.3,
    )
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(config)
    ends = [ids("<|im_end|>"), ids("<|endoftext|>")]
    model.generation_config = GenerationConfig(
        eos_token_id=ends, do_sample=True, top_k=2, temperature=0.6, repetition_penalty=5.0, min_new_tokens=3
    )
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def save_gpt2(path: Path, *, seed: int = 0, merges=MERGES) -> Path:
    """A base model with learned positions, without chat template."""
    tokenizer = byte_level_tokenizer([], merges, eos_token="<|endoftext|>")
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=1,
        n_head=2,
        n_positions=64,
        bos_token_id=end,
        eos_token_id=end,
        initializer_range=0.3,
    )
    torch.manual_seed(seed)
    GPT2LMHeadModel(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def sentencepiece_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """Pieces with ▁ for the space, one of which it writes before every text, and pieces of single bytes."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *words]
    pieces += sorted({c for word in words for c in word} | set("abcdefghijklmnopqrstuvwxyz") - set(pieces))
    vocabulary = [(piece, -float(i > 258) - 10.0 * (i <= 258)) for i, piece in enumerate(dict.fromkeys(pieces))]
    backend = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(steps)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def save_llama(path: Path, *, seed: int = 0) -> Path:
    """A chat model with a sentencepiece-style tokenizer."""
    tokenizer = sentencepiece_tokenizer(["▁the", "▁call", "ing", "er", "▁s"])
    tokenizer.chat_template = INST
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        initializer_range=0.3,
    )
    torch.manual_seed(seed)
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def save_moonshine(path: Path, *, seed: int = 0) -> Path:
    """A Moonshine of one layer on either side, with numbered markers as the published tokenizers have."""
    tokenizer = sentencepiece_tokenizer(["\u2581the", "\u2581call", "ing", "er", "\u2581s"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<<ST_0>>", "<<ST_1>>"]})
    config = MoonshineConfig(
        vocab_size=len(tokenizer) + 3,
        hidden_size=32,
        intermediate_size=64,
        encoder_num_hidden_layers=1,
        decoder_num_hidden_layers=1,
        encoder_num_attention_heads=2,
        decoder_num_attention_heads=2,
        max_position_embeddings=48,
        initializer_range=0.3,
    )
    torch.manual_seed(seed)
    model = MoonshineForConditionalGeneration(config)
    torch.nn.init.normal_(model.model.encoder.conv1.weight, std=1.0)  # white noise is to make a difference
    model.save_pretrained(path)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)
    Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(path)
    return path


def save_ark_asr(path: Path, *, seed: int = 0) -> Path:
    """An Ark-ASR of one encoder layer with its code beside the weights, as the published checkpoints have it."""
    ArkasrConfig.register_for_auto_class()
    ArkasrForConditionalGeneration.register_for_auto_class("AutoModelForCausalLM")
    ArkasrProcessor.register_for_auto_class()
    control = ["<|user|>", "<|assistant|>", "<|begin_of_audio|>", "<|end_of_audio|>", "<|audio|>", "<|im_end|>"]
    tokenizer = byte_level_tokenizer(control, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    encoder = WhisperConfig(
        num_mel_bins=16,
        d_model=32,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=64,
        max_source_positions=50 * WINDOW_SECONDS,
        init_std=0.3,
    )
    config = ArkasrConfig(
        whisper_config=encoder,
        merge_factor=4,
        audio_token_id=tokenizer.convert_tokens_to_ids("<|audio|>"),
        vocab_size=len(tokenizer) + 4,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.3,
    )
    torch.manual_seed(seed)
    ArkasrForConditionalGeneration(config).save_pretrained(path)
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=WINDOW_SECONDS)
    ArkasrProcessor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(path)
    return path


TEKKEN_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN_MARKS = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"]
TEKKEN_MARKS += ["[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]"]
TEKKEN_MARKS += ["[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"]
TEKKEN_MARKS += [f"<SPECIAL_{i}>" for i in range(20, 24)] + ["[AUDIO]", "[BEGIN_AUDIO]"]
TEKKEN_MARKS += [f"<SPECIAL_{i}>" for i in range(26, 34)] + ["[TRANSCRIBE]", *(f"<SPECIAL_{i}>" for i in range(35, 40))]


def write_tekken(path: Path) -> None:
    """A tokenizer in Mistral's format: special tokens first, at the ids of Voxtral's, then bytes and a few merges."""
    spelled = [bytes([byte]) for byte in range(256)] + [b"th", b" th", b" s", b"er"]
    special = [{"rank": i, "token_str": mark, "is_control": True} for i, mark in enumerate(TEKKEN_MARKS)]
    vocabulary = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for rank, token in enumerate(spelled)
    ]
    audio = {"sampling_rate": 16_000, "frame_rate": 12.5, "chunk_length_s": float(WINDOW_SECONDS)}
    audio |= {"audio_encoding_config": {"num_mel_bins": 16, "hop_length": 160, "window_size": 400}}
    config = {"pattern": TEKKEN_PATTERN, "num_vocab_tokens": len(spelled), "version": "v7"}
    config |= {"default_vocab_size": len(spelled) + 40, "default_num_special_tokens": 40}
    tree = {"config": config, "vocab": vocabulary, "special_tokens": special, "audio": audio}
    path.write_text(json.dumps(tree))


def save_voxtral(path: Path, *, seed: int = 0) -> Path:
    """A Voxtral of one layer on either side, with the tokenizer file that the published checkpoints have alone."""
    config = VoxtralConfig(
        audio_config={
            "num_mel_bins": 16,
            "hidden_size": 32,
            "intermediate_size": 128,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_source_positions": 50 * WINDOW_SECONDS,
            "initializer_range": 0.3,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": 304,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "max_position_embeddings": 512,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "initializer_range": 0.3,
        },
        audio_token_id=24,
    )
    torch.manual_seed(seed)
    VoxtralForConditionalGeneration(config).save_pretrained(path)
    WhisperFeatureExtractor(feature_size=16, chunk_length=WINDOW_SECONDS).save_pretrained(path)
    write_tekken(path / "tekken.json")
    return path
