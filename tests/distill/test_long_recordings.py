"""Long recordings in evaluate, transcribe and probe: the same transcripts as their pieces alone, joined."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile

import distill
from distill import Utterance, read_manifest, write_manifest
from distill.data.audio import duration, load_audio
from distill.data.long_recordings import PIECE, in_pieces
from distill.recipe import Filters, Transcription
from distill.recipe.paths import packaged
from overlap.extras import MissingExtraError
from overlap.strata import WINDOWS
from tests.distill.conftest import ONLY_EMPTY
from tests.distill.test_cli import run

pytest.importorskip("silero_vad")
WINDOW = 6.0
PAUSE = np.random.default_rng(0).normal(0, 1e-3, 12_800).astype(np.float32)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """A recording of nine of the demo's utterances, and one utterance that fits."""
    folder = tmp_path_factory.mktemp("long")
    some = read_manifest(packaged("corpus/test.jsonl"))[:9]
    parts = [part for utterance in some for part in (load_audio(utterance), PAUSE)]
    soundfile.write(folder / "long.wav", np.concatenate(parts), 16_000)
    text = " ".join(utterance.text for utterance in some)
    long = Utterance(id="long", audio=folder / "long.wav", text=text, language="English")
    write_manifest(folder / "set.jsonl", [long, replace(some[0], id="short")])
    return folder / "set.jsonl"


@pytest.fixture(scope="module")
def pieces(manifest):
    return in_pieces(read_manifest(manifest), WINDOW)


def test_an_evaluation_scores_the_joined_transcripts(manifest, pieces):
    found = distill.evaluate("demo:student", manifest, long=True, max_seconds=WINDOW, max_new_tokens=20, quiet=True)
    texts = {row["id"]: row["text"] for row in found.rows}
    alone = [replace(piece, text="") for piece in pieces.utterances]
    written = distill.evaluate("demo:student", alone, max_seconds=WINDOW, max_new_tokens=20, quiet=True)
    assert texts == pieces.stitched({row["id"]: row["text"] for row in written.rows})
    assert found.score.wer.total == sum(len(u.text.split()) for u in pieces.recordings)
    assert {row["id"]: row["seconds"] for row in found.rows} == {u.id: duration(u) for u in pieces.recordings}
    assert found.to_dict()["long_recordings"]["n_pieces"] == pieces.n_pieces
    assert pieces.line in str(found)


def test_teacher_data_has_a_line_for_each_piece_and_the_joined_transcripts(manifest, pieces, tmp_path):
    output = tmp_path / "out.jsonl"
    filters = Filters(**ONLY_EMPTY)
    asked = {"filters": filters, "transcription": Transcription(max_new_tokens=20), "long": True, "quiet": True}
    made = distill.transcribe("demo:student", manifest, output, max_seconds=WINDOW, **asked)
    lines = read_manifest(output)
    assert [line.id for line in lines] == [piece.id for piece in pieces.utterances]
    assert [line.extra.get(PIECE) for line in lines] == [piece.extra.get(PIECE) for piece in pieces.utterances]
    joined = {line.id: line for line in read_manifest(tmp_path / "out.stitched.jsonl")}
    assert {name: line.text for name, line in joined.items()} == pieces.stitched({u.id: u.text for u in lines})
    assert joined["long"].extra["reference"] == read_manifest(manifest)[0].text
    assert joined["long"].extra["pieces"] == {"ids": list(pieces.names["long"]), "dropped": []}
    assert made.summary.scores["recordings"].wer.total == sum(len(u.text.split()) for u in pieces.recordings)
    assert made.summary.scores["all"].n_utterances == 1
    tree = json.loads((tmp_path / "out.summary.json").read_text())
    assert tree["long_recordings"]["n_cut"] == 1
    assert pieces.line in str(made.summary)
    again = distill.transcribe("demo:student", manifest, output, max_seconds=WINDOW, **asked)
    assert again.kept == made.kept  # from the journal


def test_a_probe_is_broken_down_by_window(manifest, pieces):
    pair = distill.load_pair("demo:student", "demo:teacher", k=8)
    found = distill.probe(pair, manifest, long=True, max_seconds=WINDOW, max_new_tokens=8, quiet=True, traced=0)
    frame = found.windows.frame
    assert frame["window"].astype(str).drop_duplicates().tolist() == list(WINDOWS)
    used = frame[frame["statistic"] == "top1_agreement"]
    assert used["n_groups"].tolist() == [1, 1, 1, 1]  # recordings
    assert used["n_positions"].sum() == found.funnel["used"]
    weighted = (used["value"] * used["n_positions"]).sum() / used["n_positions"].sum()
    assert weighted == pytest.approx(found.summary["top1_agreement"].value)
    assert {row["window"] for row in found.to_dict()["windows"]["statistics"]} == set(WINDOWS)
    assert pieces.line in str(found)


def test_the_commands_take_them_when_asked(manifest, capsys, tmp_path):
    arguments = ("evaluate", "--model", "demo:student", "--manifest", manifest, "--max-seconds", "6")
    arguments = (*arguments, "--max-new-tokens", "4")
    code, _, said = run(*arguments, capsys=capsys)
    assert code == 1
    assert "--long" in said
    code, printed, _ = run(*arguments, "--long", "--json", capsys=capsys)
    assert code == 0
    assert json.loads(printed)["long_recordings"]["n_cut"] == 1
    probe = ("probe", "--teacher", "demo:teacher", "--manifest", manifest, "--long")
    code, _, said = run(*probe, "--preflight", "--teacher-url", "http://localhost:1", capsys=capsys)
    assert code == 1
    assert "--preflight takes the first utterances as they are; leave out --long" in said


def test_without_the_library_the_extra_is_named(manifest, monkeypatch):
    from distill.data import pauses

    pauses._detector.cache_clear()
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    with pytest.raises(MissingExtraError, match=r"cutting recordings at pauses needs .* `pip install '.*\[long\]'`"):
        in_pieces(read_manifest(manifest), WINDOW)
