"""A Qwen3-ASR of the demo student's size that writes as published checkpoints do: the language, a marker, the text."""

from pathlib import Path

import numpy as np
import torch
from transformers import AutoProcessor, Qwen3ASRForConditionalGeneration

from distill.models import load_recognizer
from distill.recipe.paths import packaged

RNG = np.random.default_rng(7)
WAVEFORMS = [RNG.standard_normal(n).astype(np.float32) * 0.1 for n in (9_000, 16_000, 12_000)]
SAID = ["call four five", "halt den zug an", "no " * 24 + "no"]
"""What the three waveforms are taken for; the last is a loop."""

LANGUAGES = ["English", "German", "English"]


def official(language: str, text: str) -> str:
    return f"language {language}<asr_text>{text}"


def save_taught(path: Path, *, steps: int = 120) -> Path:
    """Taught by transformers alone: its processor's request, its forward pass, the official form as the target."""
    load_recognizer(str(packaged("student")), from_scratch=True, seed=3).save(path)
    model = Qwen3ASRForConditionalGeneration.from_pretrained(path)
    processor = AutoProcessor.from_pretrained(path)
    lines = [target(processor, *line) for line in zip(WAVEFORMS, LANGUAGES, SAID, strict=True)]
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(steps):
        loss = torch.zeros(())
        for inputs, said in lines:
            n = said.shape[1]
            ids = torch.cat([inputs["input_ids"], said], dim=1)
            heard = {name: inputs[name] for name in ("input_features", "input_features_mask")}
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **heard).logits[0, -n - 1 : -1]
            loss = loss + torch.nn.functional.cross_entropy(logits, said[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval().save_pretrained(path)
    return path


def target(processor, waveform, language, text):
    inputs = processor.apply_transcription_request(audio=[waveform])
    said = processor.tokenizer(official(language, text), add_special_tokens=False)["input_ids"]
    return inputs, torch.tensor([[*said, processor.tokenizer.eos_token_id]])


def plainly_generated(path: Path, waveform: np.ndarray) -> str:
    """What transformers writes without us, control tokens shown."""
    model = Qwen3ASRForConditionalGeneration.from_pretrained(path)
    processor = AutoProcessor.from_pretrained(path)
    inputs = processor.apply_transcription_request(audio=[waveform])
    end = processor.tokenizer.eos_token_id
    ids = model.generate(**inputs, max_new_tokens=120, do_sample=False, eos_token_id=end, pad_token_id=end)
    return processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :])
