"""Generate the demonstration corpus: `python -m distill.demo.make_corpus --output DIR`.

Generating needs eSpeak NG; reading the corpus does not. Splits share neither a voice nor a sentence of two or more
words, whatever their seeds: a corpus of another seed has other voices in every split, and each split draws from its own
part of all sentences, which is the same for every seed.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cyclopts
import numpy as np
import soundfile as sf

from distill.demo.noise import SNR_DB, add_noise
from distill.demo.sentences import SPLITS, Split, base_form, draw_sentences
from distill.demo.synthesis import SAMPLE_RATE, data_with_voices, require_engine, speak
from distill.demo.voices import Voice, draw_voices
from overlap.errors import UserError

LANGUAGE = "English"
GAP_S = 0.1
OPUS_COMPRESSION = 0.975  # libsndfile's scale, 0 = best quality and 1 = smallest: about 12 kbit/s here
UTTERANCES: Mapping[Split, int] = {
    "teacher": 4800,
    "pretraining": 2400,
    "base": 720,
    "pool": 1500,
    "probe": 80,
    "test": 240,
}
VOICES: Mapping[Split, int] = {
    "teacher": 120,
    "pretraining": 40,
    "base": 30,
    "pool": 50,
    "probe": 20,
    "test": 40,
}
SHIPPED: tuple[Split, ...] = ("base", "pool", "probe", "test")

Row = dict[str, object]


@dataclass(frozen=True)
class Utterance:
    """A sentence to be spoken: who, what, and the row's identity."""

    id: str
    voice: Voice
    text: str


def plan(split: Split, *, n_utterances: int, n_voices: int, seed: int) -> list[Utterance]:
    """Choose the sentences of a split and deal them out to its voices.

    Args:
        split: The split.
        n_utterances: Its utterances.
        n_voices: Its voices, which take turns.
        seed: Seed of the corpus.

    Returns:
        Utterances, the same whatever other splits are made.
    """
    cast = draw_voices(split, n_voices, seed)
    sentences = draw_sentences(split, n_utterances, np.random.default_rng([seed, SPLITS.index(split), 1]))
    return [Utterance(f"{split}-{i:04d}", cast[i % n_voices], sentence) for i, sentence in enumerate(sentences)]


def render(utterances: Sequence[Utterance], folder: Path, rng: np.random.Generator) -> list[Row]:
    """Speak, cover with noise and write one Ogg Opus file a voice.

    Args:
        utterances: Utterances of one split; the babble in each is of this split's voices.
        folder: Folder of the corpus; the audio goes into its subfolder `audio`.
        rng: Source of randomness of tempo and noise.

    Returns:
        Manifest rows in the order planned, with the text in lower-case words.
    """
    with data_with_voices({utterance.voice.name: utterance.voice for utterance in utterances}.values()) as data:
        clean = [speak(one.voice, one.text, data, rate=rng.uniform(0.9, 1.1)) for one in utterances]
    talkers = [samples for one, samples in zip(utterances, clean, strict=True) if " " in one.text]
    gap = np.zeros(round(GAP_S * SAMPLE_RATE))
    tracks: dict[str, list[np.ndarray]] = {one.voice.name: [] for one in utterances}
    lengths = dict.fromkeys(tracks, 0)
    rows: list[Row] = []
    for utterance, speech in zip(utterances, clean, strict=True):
        name = utterance.voice.name
        samples, snr_db = add_noise(speech, talkers, rng)
        begin = lengths[name]
        tracks[name] += [samples, gap]
        lengths[name] += len(samples) + len(gap)
        rows.append(
            {
                "id": utterance.id,
                "audio": f"audio/{name}.ogg",
                "text": utterance.text,
                "begin_time": begin / SAMPLE_RATE,
                "end_time": (begin + len(samples)) / SAMPLE_RATE,
                "language": LANGUAGE,
                "speaker": name,
                "snr_db": snr_db,
            }
        )
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    for name, pieces in tracks.items():
        path = folder / "audio" / f"{name}.ogg"
        with sf.SoundFile(path, "w", SAMPLE_RATE, 1, "OPUS", compression_level=OPUS_COMPRESSION) as file:
            for piece in pieces:  # libsndfile's encoders overflow their stack on minutes in one write
                file.write(piece)
    return rows


def manifests(split: Split, rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Give a split's rows the forms in which they are used.

    Args:
        split: The split.
        rows: Its rows, with text in lower-case words.

    Returns:
        Rows of each manifest, by its name without `.jsonl`.
    """
    labels = [{**row, "text": base_form(str(row["text"]))} for row in rows]
    if split == "base":
        return {"base": labels, "base_matched": list(rows)}
    if split == "pool":
        unlabeled = [{key: value for key, value in row.items() if key != "text"} for row in rows]
        return {"pool": unlabeled, "pool_references": list(rows)}
    return {split: labels if split == "pretraining" else list(rows)}


def write_jsonl(path: Path, rows: Iterable[Row]) -> None:
    """Write one JSON object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


ABOUT = {
    "teacher": "what `demo_teacher` learned from, lower-case words (`call three five one`)",
    "pretraining": "what `demo_student` learned from, in the labels' form: upper case and numerals (`CALL 351`)",
    "base": "labeled utterances of the demo's first stage, in the labels' form",
    "base_matched": "the utterances of `base.jsonl`, lower-case words",
    "pool": "utterances without text, for teacher data and on-policy distillation",
    "pool_references": "the pool's texts, lower-case words: read by tests of the teacher, by no recipe",
    "probe": "utterances that gates read on, lower-case words",
    "test": "utterances that error rates are taken on, lower-case words",
}


def describe(folder: Path, command: str) -> str:
    """Write the corpus's README text from what lies in its folder.

    Args:
        folder: Folder of the corpus, with its manifests and audio.
        command: What made it.

    Returns:
        Markdown.
    """
    table = ["| manifest | utterances | words | voices | minutes | holds |", "|---|---|---|---|---|---|"]
    for name, holds in ABOUT.items():
        path = folder / f"{name}.jsonl"
        if not path.exists():
            continue
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        minutes = sum(row["end_time"] - row["begin_time"] for row in rows) / 60
        words = f"{sum(len(row['text'].split()) for row in rows):,}" if "text" in rows[0] else "–"
        n_voices = len({row["speaker"] for row in rows})
        table.append(f"| `{name}.jsonl` | {len(rows):,} | {words} | {n_voices} | {minutes:.1f} | {holds} |")
    elsewhere = [split for split in SPLITS if not (folder / f"{split}.jsonl").exists()]
    other = (
        f"\nNot in this folder: {', '.join(elsewhere)}. The same command makes them with `--splits`.\n"
        if elsewhere
        else ""
    )
    n_bytes = sum(path.stat().st_size for path in folder.rglob("*.ogg"))
    return f"""# Demonstration corpus

Connected digits (read one by one) and short commands, spoken by synthetic voices under noise: enough to distil a
small recognizer on a CPU within minutes. It says nothing about natural speech.

{chr(10).join(table)}

Audio: 16 kHz mono Ogg Opus, one file a voice, {n_bytes:,} bytes; utterances are cut out by `begin_time` and
`end_time` (seconds); `speaker` names the voice. There are six splits: {", ".join(SPLITS)}. No voice
and no sentence of two or more words is in two of them; sentences are repeated within a split, by other voices. Single
words are in the three that are trained on with text, and in all three. Each utterance carries white and pink noise and
babble (of its own split's voices) in random proportions at `snr_db`, drawn uniformly between {SNR_DB[0]:g} and
{SNR_DB[1]:g} dB: mean power of the speech over that of the noise beneath it.

Voices are eSpeak NG's with own variants: accent, pitch, formants, vocal tract, phonation and tempo of each are
drawn from one distribution for all splits, stratified within each. What differs between voices is no more than that:
they are one synthesizer's.

Made with

    {command}
{other}
The same seed and the same version of eSpeak NG give the same sentences, voices and noise.

License: synthesized for this project and dedicated to the public domain under
[CC0 1.0](https://creativecommons.org/publicdomain/zero/1.0/). No recording of a person's speech is in it.
"""


def make_corpus(
    output: Path,
    *,
    splits: Annotated[tuple[Split, ...], cyclopts.Parameter(consume_multiple=True)] = SHIPPED,
    seed: int = 0,
    utterances: dict[str, int] | None = None,
    voices: dict[str, int] | None = None,
) -> None:
    """Generate splits of the corpus.

    Args:
        output: Folder to write; its audio and manifests are replaced.
        splits: Which splits; by default those that the demo itself reads. Each is the same whatever others are made.
        seed: Seed of voices, sentences and noise. Another seed has other voices in every split.
        utterances: Numbers of utterances that differ from the demo's, as in `--utterances.pool 128`.
        voices: Numbers of voices that differ from the demo's, as in `--voices.test 24`.

    Raises:
        FileNotFoundError: If eSpeak NG is not on PATH.
        UserError: If a number is for a split that is not made, or a split has fewer utterances than voices, or none.
    """
    require_engine()
    if stray := [name for name in {**(utterances or {}), **(voices or {})} if name not in splits]:
        raise UserError(
            f"numbers for {', '.join(stray)}, but the splits made are {', '.join(splits)}; add it to --splits"
        )
    sizes = {split: {**UTTERANCES, **(utterances or {})}[split] for split in splits}
    casts = {split: {**VOICES, **(voices or {})}[split] for split in splits}
    for split in splits:
        if not 1 <= casts[split] <= sizes[split]:
            raise UserError(
                f"{split}: {sizes[split]} utterances for {casts[split]} voices; "
                "give at least one voice and as many utterances"
            )
    output.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(output / "audio", ignore_errors=True)
    for name in ABOUT:
        (output / f"{name}.jsonl").unlink(missing_ok=True)
    for split in splits:
        planned = plan(split, n_utterances=sizes[split], n_voices=casts[split], seed=seed)
        rows = render(planned, output, np.random.default_rng([seed, SPLITS.index(split), 2]))
        for name, lines in manifests(split, rows).items():
            write_jsonl(output / f"{name}.jsonl", lines)
    command = ["python -m distill.demo.make_corpus --output DIR --splits", *splits, "--seed", str(seed)]
    for option, chosen in (("utterances", utterances), ("voices", voices)):
        command += [f"--{option}.{split} {n}" for split, n in (chosen or {}).items()]
    (output / "README.md").write_text(describe(output, " ".join(command)), encoding="utf-8")


if __name__ == "__main__":
    cyclopts.run(make_corpus)
