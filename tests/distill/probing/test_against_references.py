"""What a probe says against reference texts, with the demo's models, against other packages and by hand."""

import math
from dataclasses import replace
from types import SimpleNamespace

import jiwer
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import brier_score_loss, roc_auc_score

import distill
from distill import read_manifest
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.data.manifest import Utterance
from distill.locations import packaged
from distill.models.base import pack
from distill.normalize import normalizer
from distill.probing.against_references import SIGNAL_STATISTICS, AgainstReferences
from distill.probing.probe import probe
from distill.probing.result import NO_TEXTS, ProbeResult
from distill.recipe import Decoding, SupportSettings
from distill.run.probe_sums import write_sums
from distill.scoring.pair import Pair
from overlap.estimates.group_sums import GroupSums

SOURCE, SUPPORT, DECODING = AudioSource(AudioCache()), SupportSettings(k=8), Decoding(max_new_tokens=24)
NORMALIZER = "spoken_digits"


@pytest.fixture(scope="module")
def pair():
    return distill.load_pair("demo:student", "demo:teacher", k=8)


@pytest.fixture(scope="module")
def utterances():
    return read_manifest(packaged("corpus/probe.jsonl"))[:20]


@pytest.fixture(scope="module")
def probed(pair, utterances):
    return probe(pair, SOURCE, utterances, SUPPORT, DECODING, normalizer=NORMALIZER, batch_size=20, traced=20)


@pytest.fixture(scope="module")
def counted(probed):
    """Errors and words of each transcript, by jiwer alone."""
    apply = normalizer(NORMALIZER).apply
    found = [jiwer.process_words(apply(row["reference"]), apply(row["text"])) for row in probed.traces]
    return np.array(
        [[o.substitutions + o.deletions + o.insertions, o.hits + o.substitutions + o.deletions] for o in found]
    )


def test_signal_is_that_of_the_transcripts_means_and_errors(probed, counted):
    errors = counted[:, 0]
    assert 0 < (errors == 0).sum() < len(errors)
    signal = probed.references.signal
    assert tuple(signal) == SIGNAL_STATISTICS
    for name in ("teacher_logprob", "student_logprob", "student_mass"):
        means = [np.nanmean(row[name]) for row in probed.traces]
        assert signal[name].auroc.value == pytest.approx(roc_auc_score(errors == 0, means))
    means = np.array([np.nanmean(row["total_variation"]) for row in probed.traces])
    assert signal["total_variation"].auroc.value == pytest.approx(roc_auc_score(errors == 0, -means))
    assert (signal["union_size"].n_right, signal["union_size"].n_wrong) == ((errors == 0).sum(), (errors > 0).sum())


def test_sums_hold_errors_and_words_so_that_it_can_be_computed_again(probed, counted, utterances, tmp_path):
    sums = probed.sums.chosen({"error_rate": "error_rate"})
    by_id = dict(zip(sums.keys, zip(sums.sums[:, 0], sums.counts[:, 0], strict=True), strict=True))
    assert [by_id[row["id"]] for row in probed.traces] == [tuple(row) for row in counted.tolist()]
    assert "error_rate" not in probed.readings  # gates read no error rate of a probe
    (tmp_path / "probe_sums").mkdir()
    speakers = {utterances[0].id: "ada"} | {u.id: None for u in utterances[1:]}
    write_sums(tmp_path, "x", {"step": 0, "visit": 0, "stage": "base"}, {"student": sums}, speakers)
    frame = pd.read_parquet(tmp_path / "probe_sums/x.parquet").set_index("id")
    assert frame.loc[utterances[0].id, "speaker"] == "ada"
    assert frame["speaker"].isna().sum() == 19


def words_by_hand(row, model):
    """Probability and correctness of each word, from the pieces' text and an alignment of words by jiwer."""
    apply = normalizer(NORMALIZER).apply
    pieces = [(piece or b"").decode() for piece in row["token_bytes"]]
    text, probabilities, start = "".join(pieces), np.exp(row[f"{model}_logprob"]), 0
    said, products = [], []
    for word in text.split():
        start = text.index(word, start)
        product, at = 1.0, 0
        for piece, p in zip(pieces, probabilities, strict=True):
            if at < start + len(word) and at + len(piece) > start and piece:
                product *= p
            at += len(piece)
        said.append(word)
        products.append(product)
        start += len(word)
    if apply(text).split() != [word.lower() for word in said]:
        return None  # a numeral, which several words are made of
    alignment = jiwer.process_words(apply(row["reference"]), apply(text)).alignments[0]
    right = np.zeros(len(said))
    for chunk in alignment:
        if chunk.type == "equal":
            right[chunk.hyp_start_idx : chunk.hyp_end_idx] = 1
    return products, right


def test_calibration_of_words_is_scikit_learns_of_the_products(pair, utterances):
    teacher = Pair.from_models(pair.teacher, pair.teacher, 8)  # it writes words, not numerals
    probed = probe(teacher, SOURCE, utterances, SUPPORT, DECODING, normalizer=NORMALIZER, batch_size=20, traced=20)
    found = [words_by_hand(row, "student") for row in probed.traces]
    assert None not in found
    products, right = (np.concatenate(part) for part in zip(*found, strict=True))
    measured = probed.references.calibration["student", "word"]
    assert measured.accuracy.n_positions == len(right)
    assert measured.accuracy.value == pytest.approx(right.mean())
    assert measured.brier.value == pytest.approx(brier_score_loss(right, products), abs=1e-6)
    assert measured.overconfident_wrong.value == pytest.approx(((products > 0.9) & (right == 0)).mean())
    # Both are one model here, so that both read the same probabilities.
    assert probed.references.calibration["teacher", "token"].ece.value == pytest.approx(
        probed.references.calibration["student", "token"].ece.value, abs=1e-6
    )


def test_clusters_are_speakers_where_there_are_enough(probed, utterances):
    named = {str(u.extra.get("speaker")) for u in utterances}
    assert len(named) >= 10
    assert probed.references.calibration.over == probed.references.signal.over == "speakers"
    assert probed.references.calibration["student", "word"].ece.n_groups <= len(named)


def result_of(probed):
    return ProbeResult({"student": "s"}, probed, SimpleNamespace(line="", to_dict=dict, texts={}), {})


def test_the_result_exposes_prints_and_writes_them(probed):
    result = result_of(probed)
    assert result.signal is probed.references.signal
    assert result.calibration is probed.references.calibration
    tree, text = result.to_dict(), str(result)
    assert tree["signal"]["normalizer"] == f"{NORMALIZER} {normalizer(NORMALIZER).version}"
    assert tree["calibration"]["rows"]
    assert text.index("read first") < text.index("signal: does") < text.index("calibration: is")


def test_without_texts_there_is_none_and_that_is_said(pair, utterances):
    bare = [replace(utterance, text=None) for utterance in utterances[:2]]
    probed = probe(pair, SOURCE, bare, SUPPORT, DECODING, normalizer=NORMALIZER)
    result = result_of(probed)
    assert probed.references is None
    assert (result.signal, result.calibration) == (None, None)
    assert NO_TEXTS in str(result)
    assert "error_rate" not in probed.sums.names


class Spelled:
    """Collected with a tokenizer of words, and scores as a server gives them."""

    def __init__(self, monkeypatch, teachers):
        words = [b"one", b" two", b" three", None]
        monkeypatch.setattr("distill.probing.against_references.spelling", lambda *_: words.__getitem__)
        tokens = SimpleNamespace(times=range(0), end_of_text=3)
        self.against = AgainstReferences(
            SimpleNamespace(student=SimpleNamespace(tokens=tokens, tokenizer=None)), "basic"
        )
        written = pack([[0, 1, 3], [0, 2, 3]], 3)
        own = torch.log(torch.tensor([[0.9, 0.8, 1.0], [0.9, 0.5, 1.0]]))
        scores = SimpleNamespace(
            transcripts=written,
            used=written.mask,
            statistics=lambda: {"student_logprob": own},
            teacher_logprobs=lambda ids: torch.tensor(teachers)[..., None],
        )
        self.utterances = [Utterance(name, prompt="say it", text="one two") for name in ("a", "b")]
        self.against.add(scores, self.utterances, ["one two", "one three"])

    def reading(self):
        sums = GroupSums.from_values({"student_logprob": np.array([-0.1, -0.3])}, np.array(["a", "b"]))
        return self.against.reading(sums)


def test_a_served_teacher_that_lists_every_token_is_measured_by_hand(monkeypatch):
    found = Spelled(monkeypatch, [[-0.1, -0.2, -0.3], [-0.5, -2.0, -0.5]]).reading()
    assert found.signal["teacher_logprob"].informativeness.value == pytest.approx(-0.2 + 1.0)
    assert (found.signal["teacher_logprob"].n_right, found.signal["teacher_logprob"].n_wrong) == (1, 1)
    words = found.calibration["student", "word"]
    assert words.brier.value == pytest.approx((0.1**2 + 0.2**2 + 0.1**2 + 0.5**2) / 4)
    assert words.accuracy.value == 0.75
    tokens = found.calibration["teacher", "token"]
    assert tokens.confidence.value == pytest.approx(np.exp([-0.1, -0.2, -0.3, -0.5, -2.0, -0.5]).mean())
    assert tokens.accuracy.value == pytest.approx(5 / 6)  # the end of text is right: nothing is missing before it


def test_what_a_served_teacher_does_not_show_is_undefined_with_its_reason(monkeypatch):
    found = Spelled(monkeypatch, [[-0.1, math.nan, -0.3], [-0.5, -2.0, -0.5]]).reading()
    why = "not known at 1 of 6 positions"
    assert why in found.signal.reasons["teacher_logprob"]
    assert math.isnan(found.signal["teacher_logprob"].auroc.value)
    assert why in found.calibration.reasons["teacher", "word"]
    assert math.isnan(found.calibration["teacher", "token"].ece.value)
    assert found.calibration["student", "token"].accuracy.value == pytest.approx(5 / 6)
    assert "only bounds" in found.signal.reasons["top1_agreement"]
    rows = found.signal.rows() + found.calibration.rows()
    assert any(row["reason"] and math.isnan(row["value"]) for row in rows)


def test_a_transcript_whose_text_is_not_that_of_its_tokens_has_no_right_and_wrong(monkeypatch):
    made = Spelled(monkeypatch, [[-0.1, -0.2, -0.3], [-0.5, -2.0, -0.5]])
    made.against._rows[1] = SimpleNamespace(**{**vars(made.against._rows[1]), "text": "language: one three"})
    found = made.reading().calibration["student", "token"]
    assert (found.accuracy.n_positions, found.accuracy.n_undefined) == (3, 3)


def test_a_normalizer_under_which_nothing_is_right_is_said(pair, utterances):
    said = "no transcript is right under the normalizer basic 2: if texts and transcripts differ only in form"
    shown = {
        name: str(distill.probe(pair, utterances, normalizer=name, traced=0, teacher_states=False, quiet=True))
        for name in ("basic", NORMALIZER)
    }
    assert said in shown["basic"]
    assert said not in shown[NORMALIZER]
