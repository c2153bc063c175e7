"""Generate the demonstration corpus: `python -m distill.demo.make_corpus --output DIR`.

Needs eSpeak NG and Flite; everything that reads the corpus does not.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cyclopts
import numpy as np
import soundfile as sf

from distill.demo.sentences import WORDS, base_form, draw_pools
from distill.demo.synthesis import SAMPLE_RATE, Split, Voice, require_engines, speak, voices

LANGUAGE = "English"
GAP_S = 0.1
SNR_DB = (12.0, 30.0)
LEVEL_DBFS = (-24.0, -22.0)
MARGIN_S = (0.03, 0.12)
BABBLE_TALKERS = 4
OPUS_COMPRESSION = 0.97  # libsndfile's scale, 0 = best quality and 1 = smallest: about 14 kbit/s here
SENTENCES = {"train": 2700, "probe": 80, "test": 200}
SINGLE_WORD_ROUNDS = 25  # times that every word of the vocabulary is spoken alone, by voices in turn
BASE_SHARE = 0.4


@dataclass(frozen=True)
class Utterance:
    """A sentence to be spoken: who, what, and the row's identity."""

    id: str
    voice: Voice
    text: str


def plan(rng: np.random.Generator) -> dict[Split, list[Utterance]]:
    """Choose the sentences of every split and deal them out to its voices.

    Args:
        rng: Source of randomness.

    Returns:
        Utterances of each split; single words are in the training split alone.
    """
    pools = draw_pools(rng, n_train=SENTENCES["train"], n_probe=SENTENCES["probe"], n_test=SENTENCES["test"])
    texts: dict[Split, list[str]] = {
        "train": [*pools.train, *(word for _ in range(SINGLE_WORD_ROUNDS) for word in WORDS)],
        "probe": list(pools.probe),
        "test": list(pools.test),
    }
    planned: dict[Split, list[Utterance]] = {}
    for split, sentences in texts.items():
        cast = voices(split)
        planned[split] = [
            Utterance(f"{split}-{i:04d}", cast[i % len(cast)], str(sentence))
            for i, sentence in enumerate(rng.permutation(sentences))
        ]
    return planned


def pink_noise(n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw Gaussian noise whose power falls as 1/f.

    Args:
        n: Number of samples.
        rng: Source of randomness.

    Returns:
        Samples `[n]` with a root mean square of 1.
    """
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    noise = np.fft.irfft(spectrum, n)
    return noise / np.sqrt(np.square(noise).mean())


def babble(n: int, talkers: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Overlay several talkers, each looped from a random place.

    Args:
        n: Number of samples.
        talkers: Clean utterances, each `[time]`.
        rng: Source of randomness.

    Returns:
        Samples `[n]` with a root mean square of 1.
    """
    chosen = rng.choice(len(talkers), BABBLE_TALKERS, replace=False)
    noise = np.sum(
        [np.resize(np.roll(talkers[i], rng.integers(len(talkers[i]))), n) for i in chosen],
        axis=0,
    )
    return noise / np.sqrt(np.square(noise).mean())


def mix(speech: np.ndarray, noise: np.ndarray, *, snr_db: float, start: int) -> np.ndarray:
    """Add noise at a signal-to-noise ratio.

    Args:
        speech: Clean samples `[time]`.
        noise: Noise samples, at least `start + time` long.
        snr_db: Mean power of the speech over that of the noise beneath it, in decibels.
        start: Sample of the noise at which the speech begins.

    Returns:
        The mixture, as long as the noise.
    """
    beneath = noise[start : start + len(speech)]
    gain = np.sqrt(np.square(speech).mean() / np.square(beneath).mean() / 10 ** (snr_db / 10))
    mixture = noise * gain
    mixture[start : start + len(speech)] += speech
    return mixture


def add_noise(speech: np.ndarray, talkers: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Surround and cover an utterance with white and pink noise and babble, in random proportions.

    Args:
        speech: Clean samples `[time]`.
        talkers: Clean utterances for the babble.
        rng: Source of randomness.

    Returns:
        The noisy utterance at a random level, and its signal-to-noise ratio in decibels.
    """
    before, after = (round(s * SAMPLE_RATE) for s in rng.uniform(*MARGIN_S, 2))
    n = before + len(speech) + after
    shares = rng.dirichlet(np.ones(3))
    sources = (rng.standard_normal(n), pink_noise(n, rng), babble(n, talkers, rng))
    noise = np.sum([np.sqrt(share) * source for share, source in zip(shares, sources, strict=True)], axis=0)
    snr_db = round(float(rng.uniform(*SNR_DB)), 1)
    mixture = mix(speech, noise, snr_db=snr_db, start=before)
    level = 10 ** (rng.uniform(*LEVEL_DBFS) / 20)
    return mixture * level / np.sqrt(np.square(mixture).mean()), snr_db


def render(planned: dict[Split, list[Utterance]], folder: Path, seed: int) -> dict[Split, list[dict[str, object]]]:
    """Speak, cover with noise and write one Ogg Opus file a voice.

    Args:
        planned: Utterances of each split.
        folder: Folder of the corpus; the audio goes into its subfolder `audio`.
        seed: Seed of the noise.

    Returns:
        Manifest rows of each split, in the order planned, with the text in lower-case words.
    """
    rng = np.random.default_rng([seed, 1])
    clean = {
        utterance.id: speak(utterance.voice, utterance.text, rate=rng.uniform(0.9, 1.1))
        for utterances in planned.values()
        for utterance in utterances
    }
    talkers = [clean[utterance.id] for utterance in planned["train"] if " " in utterance.text]
    gap = np.zeros(round(GAP_S * SAMPLE_RATE))
    rows: dict[Split, list[dict[str, object]]] = {}
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    for split, utterances in planned.items():
        tracks: dict[str, list[np.ndarray]] = {voice.name: [] for voice in voices(split)}
        lengths = dict.fromkeys(tracks, 0)
        rows[split] = []
        for utterance in utterances:
            name = utterance.voice.name
            samples, snr_db = add_noise(clean[utterance.id], talkers, rng)
            begin = lengths[name]
            tracks[name] += [samples, gap]
            lengths[name] += len(samples) + len(gap)
            rows[split].append(
                {
                    "id": utterance.id,
                    "audio": f"audio/{name}.ogg",
                    "text": utterance.text,
                    "begin_time": begin / SAMPLE_RATE,
                    "end_time": (begin + len(samples)) / SAMPLE_RATE,
                    "language": LANGUAGE,
                    "voice": name,
                    "snr_db": snr_db,
                }
            )
        for name, pieces in tracks.items():
            path = folder / "audio" / f"{name}.ogg"
            with sf.SoundFile(
                path, "w", SAMPLE_RATE, channels=1, subtype="OPUS", compression_level=OPUS_COMPRESSION
            ) as file:
                for piece in pieces:  # libsndfile's encoders overflow their stack on minutes in one write
                    file.write(piece)
    return rows


def write_jsonl(path: Path, rows: Iterable[dict[str, object]]) -> None:
    """Write one JSON object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_manifests(rows: dict[Split, list[dict[str, object]]], folder: Path, rng: np.random.Generator) -> None:
    """Write every manifest of the corpus.

    Args:
        rows: Manifest rows of each split, with text in lower-case words.
        folder: Folder of the corpus.
        rng: Source of randomness for the labelled part.
    """
    train = rows["train"]
    labelled = set(rng.choice(len(train), round(BASE_SHARE * len(train)), replace=False).tolist())
    matched = [row for i, row in enumerate(train) if i in labelled]
    unlabelled = [row for i, row in enumerate(train) if i not in labelled]
    write_jsonl(folder / "train.jsonl", train)
    write_jsonl(folder / "pretraining.jsonl", ({**row, "text": base_form(str(row["text"]))} for row in train))
    write_jsonl(folder / "base_matched.jsonl", matched)
    write_jsonl(folder / "base.jsonl", ({**row, "text": base_form(str(row["text"]))} for row in matched))
    write_jsonl(folder / "pool.jsonl", ({k: v for k, v in row.items() if k != "text"} for row in unlabelled))
    write_jsonl(folder / "probe.jsonl", rows["probe"])
    write_jsonl(folder / "test.jsonl", rows["test"])


def describe(folder: Path, seed: int) -> str:
    """Write the corpus's README text from what lies in its folder.

    Args:
        folder: Folder of the corpus, with its manifests and audio.
        seed: Seed that made it.

    Returns:
        Markdown.
    """
    about = {
        "train": "all training utterances, lower-case words",
        "pretraining": "all training utterances in the labels' form; what `demo_student` learned from",
        "base": "labelled training utterances in the labels' form: upper case and numerals (`CALL 351`)",
        "base_matched": "the utterances of `base.jsonl`, lower-case words (`call three five one`)",
        "pool": "the other training utterances, without text",
        "probe": "voices and sentences of its own, lower-case words",
        "test": "voices and sentences of its own, lower-case words",
    }
    table = ["| manifest | utterances | voices | minutes | holds |", "|---|---|---|---|---|"]
    for name, holds in about.items():
        rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        minutes = sum(row["end_time"] - row["begin_time"] for row in rows) / 60
        table.append(f"| `{name}.jsonl` | {len(rows)} | {len({r['voice'] for r in rows})} | {minutes:.1f} | {holds} |")
    n_bytes = sum(path.stat().st_size for path in folder.rglob("*.ogg"))
    return f"""# Demonstration corpus

Connected digits (read one by one) and short commands, spoken by synthetic voices under noise: enough to distil a
small recogniser on a CPU within minutes. It says nothing about natural speech.

{chr(10).join(table)}

Audio: 16 kHz mono Ogg Opus, one file a voice, {n_bytes:,} bytes; utterances are cut out by `begin_time` and
`end_time` (seconds). No voice and no sentence of two or more words is in two of the splits train, probe and test;
single words are in train alone. Each utterance carries white and pink noise and babble (of training voices) in random
proportions at `snr_db`, drawn uniformly between {SNR_DB[0]:g} and {SNR_DB[1]:g} dB: mean power of the speech over that
of the noise beneath it.

Made by eSpeak NG (formant synthesis, accents and variants of English) and Flite (voices slt, rms, kal16, awb) with

    python -m distill.demo.make_corpus --output distill/demo/corpus --seed {seed}

The same seed and the same versions of both programs give the same sentences, voices and noise.

Licence: synthesised for this project and dedicated to the public domain under
[CC0 1.0](https://creativecommons.org/publicdomain/zero/1.0/). No recording of a person's speech is in it.
"""


def make_corpus(output: Path, *, seed: int = 0) -> None:
    """Generate the corpus.

    Args:
        output: Folder to write; its audio and manifests are replaced.
        seed: Seed of sentences, noise and splits.

    Raises:
        FileNotFoundError: If eSpeak NG or Flite is not on PATH.
    """
    require_engines()
    output.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(output / "audio", ignore_errors=True)
    rng = np.random.default_rng([seed, 0])
    rows = render(plan(rng), output, seed)
    write_manifests(rows, output, rng)
    (output / "README.md").write_text(describe(output, seed), encoding="utf-8")


if __name__ == "__main__":
    cyclopts.run(make_corpus)
