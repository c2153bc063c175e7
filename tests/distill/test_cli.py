"""The command line as a user meets it: exit codes, messages, JSON on standard output, and a run that is killed."""

import json
import signal
import subprocess
import sys
import time

import pytest

from analysis import load
from analysis.stages.probe_reading import probe_reading
from distill import cli, read_manifest, write_manifest
from distill.recipe import Recipe
from distill.recipe.paths import packaged


def run(*arguments, capsys) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


def as_toml(mini) -> str:
    """The plain recipe as TOML, enough for its few types."""

    def value(x):
        return (
            json.dumps(x)
            if not isinstance(x, dict)
            else "{" + ", ".join(f"{k} = {value(v)}" for k, v in x.items()) + "}"
        )

    top = "".join(f"{k} = {value(v)}\n" for k, v in mini.items() if k != "stages")
    return top + "".join("[[stages]]\n" + "".join(f"{k} = {value(v)}\n" for k, v in s.items()) for s in mini["stages"])


@pytest.fixture
def toml(mini, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(as_toml(mini))
    return path


def test_train_prints_the_stage_table_and_where_the_run_is(toml, tmp_path, capsys):
    code, out, _ = run("train", toml, "--output", tmp_path / "run", "--set", "total_steps=6", capsys=capsys)
    assert code == 4  # its budget was spent before its gate opened
    assert "VUSS" in out
    assert "teacher data" in out
    assert f"run directory: {tmp_path / 'run'}" in out
    code, out, _ = run("compare", tmp_path / "run", "--as", "markdown", capsys=capsys)
    assert code == 0
    assert "| run " in out
    assert "| WER % test |" in out


def test_comparing_nothing_that_is_a_run_names_it(tmp_path, capsys):
    code, _, err = run("compare", tmp_path / "none", capsys=capsys)
    assert code == 1
    assert f"{tmp_path / 'none'} does not exist" in err.replace("\n", "")


def test_evaluate_json_is_one_object_and_nothing_else(student_path, manifests, capsys):
    arguments = ("--model", student_path, "--manifest", manifests["test"], "--max-new-tokens", 6, "--json")
    code, out, _ = run("evaluate", *arguments, capsys=capsys)
    assert code == 0
    result = json.loads(out)
    assert result["n_utterances"] == 10
    assert result["wer"]["total"] > 0


def test_show_prints_both_views(student_path, teacher_path, manifests, capsys):
    arguments = ("--student", student_path, "--teacher", teacher_path, "--manifest", manifests["probe"])
    code, out, _ = run("show", *arguments, "--k", 4, "--max-new-tokens", 6, capsys=capsys)
    assert code == 0
    assert out.count("language English<asr_text>") == 2
    assert "<|audio_pad|>×" in out
    code, out, _ = run("show", *arguments, "--k", 4, "--states", "reference", "--json", capsys=capsys)
    shown = json.loads(out)
    written = "".join(row["student_token"] for row in shown["positions"][:-1]).replace("Ġ", " ")
    assert written == shown["text"] == shown["reference"]
    assert shown["positions"][-1]["student_token"] == shown["positions"][-1]["teacher_token"] == "<|im_end|>"
    assert all(row["bin"] == "used" and 0 < row["teacher_probability"] < 1 for row in shown["positions"])
    code, _, err = run("show", *arguments, "--utterance", "nobody", capsys=capsys)
    assert code == 1
    assert "has no utterance 'nobody'; its first is" in err


def test_probe_prints_summary_and_funnel_and_writes_a_trace(student_path, teacher_path, manifests, tmp_path, capsys):
    arguments = ["--student", student_path, "--teacher", teacher_path, "--manifest", manifests["probe"]]
    arguments += ["--k", 4, "--max-new-tokens", 6]
    code, out, _ = run("probe", *arguments, "--output", tmp_path / "trace.parquet", capsys=capsys)
    assert code == 0
    assert "VUSS" in out
    assert "low_support" in out
    assert (tmp_path / "trace.parquet").is_file()
    named = f"student {student_path}, teacher {teacher_path}, manifest {manifests['probe']}: "
    closing = out[out.index(named) :]
    assert all(name in closing for name in ("used", "top1_agreement", "teacher_mass", "overlap_ratio", "end_of_text"))
    code, out, _ = run("probe", *arguments, "--json", capsys=capsys)
    tree = json.loads(out)
    reading = tree["first_reading"]
    assert f"{reading['verdict']}\n{reading['advice']}".rstrip() in closing
    assert closing.index("signal: ") < closing.index("calibration")
    probed = load(tmp_path / "trace.parquet")
    found = probed.probes[probed.probes["states"] == "student"].set_index("statistic")
    for name, estimate in (tree["summary"]["estimates"] | tree["forms"]).items():
        rows = found
        if name.startswith("teacher."):
            rows = probed.probes[probed.probes["states"] == "teacher"].set_index("statistic")
        for field in ("value", "low", "high", "n_positions", "n_groups"):
            given = float("nan") if estimate[field] is None else estimate[field]
            there = rows.loc[name.removeprefix("teacher."), field]
            assert there == pytest.approx(given, nan_ok=True), (name, field)
    assert {"teacher.student_end_likely.at_end", "student_end_mass.past_teacher"} <= {*tree["forms"]}
    assert found.loc["funnel.used", "value"] == tree["funnel"]["used"]
    assert [row["standing"] for row in probe_reading(probed).to_dict()["numbers"]] == [
        row["standing"] for row in reading["numbers"]
    ]
    code, out, _ = run("report", tmp_path / "trace.parquet", "-o", tmp_path / "report.md", capsys=capsys)
    assert code == 0
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "### Five numbers to read first" in text
    assert all(str(value) in text for value in (student_path, teacher_path, manifests["probe"]))
    assert sum(tree["funnel"].values()) >= tree["summary"]["estimates"]["union_size"]["n_positions"]


def test_an_aborted_run_has_its_own_exit_code(mini, tmp_path, capsys):
    del mini["stages"][1]
    mini["stages"][1]["gate"] = {"type": "collapse", "limits": {"student_logprob": [0.0, "off"]}, "action": "abort"}
    (tmp_path / "recipe.toml").write_text(as_toml(mini))
    code, out, _ = run("train", tmp_path / "recipe.toml", "--output", tmp_path / "run", capsys=capsys)
    assert code == 3
    assert "aborted: " in out


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text.replace('"threads"', "").replace("threads", "thread"), "did you mean threads"),
        (lambda text: text.replace("train.jsonl", "gone.jsonl"), "gone.jsonl"),
    ],
)
def test_mistakes_are_one_message_and_exit_code_one(toml, tmp_path, capsys, edit, message):
    toml.write_text(edit(toml.read_text()))
    code, _, err = run("train", toml, "--output", tmp_path / "run", capsys=capsys)
    assert code == 1
    assert message in err.replace("\n", "")
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_a_broken_manifest_line_is_named(toml, manifests, tmp_path, capsys):
    broken = tmp_path / "broken.jsonl"
    broken.write_text(manifests["train"].read_text().replace("\n", "\n{oops\n", 1))
    code, _, err = run(
        "train", toml, "--output", tmp_path / "run", "--set", f"stages.0.manifest={broken}", capsys=capsys
    )
    assert code == 1
    assert "broken.jsonl:2" in err.replace("\n", "")


def test_audio_beyond_the_limit_is_refused_before_training(toml, tmp_path, capsys):
    code, _, err = run("train", toml, "--output", tmp_path / "run", "--set", "audio.max_seconds=0.2", capsys=capsys)
    assert code == 1
    assert "longer than the limit of 0.2 s" in err
    assert "never truncated silently" in err.replace("\n", " ")


def test_resume_of_nothing(tmp_path, capsys):
    code, _, err = run("resume", tmp_path, capsys=capsys)
    assert code == 1
    assert "holds no run" in err


def test_a_killed_run_resumes_to_the_same_weights(mini, tmp_path):
    """SIGKILL in a process of its own, wherever it happens to be, then `distill resume` in another."""
    (tmp_path / "recipe.toml").write_text(as_toml(mini))
    Recipe.model_validate(mini)
    command = [sys.executable, "-m", "distill.cli"]
    train = [*command, "train", tmp_path / "recipe.toml", "--no-check", "--output"]  # the teacher's weights are random
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*train, whole], check=True, capture_output=True)
    process = subprocess.Popen([*train, killed], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        log = killed / "metrics.jsonl"
        if log.exists() and log.read_bytes().count(b"\n") >= 6:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = subprocess.run([*command, "resume", killed], check=True, capture_output=True, text=True)
    assert "finished" in resumed.stdout

    def outcome(path):
        lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        for line in lines:
            line.pop("seconds")
        return lines, (path / "checkpoints" / "step-000012" / "model.safetensors").read_bytes()

    assert outcome(killed) == outcome(whole)


class TestTranscribe:
    """Teacher data from the command line."""

    @pytest.fixture
    def pool(self, tmp_path):
        """The thirty shortest utterances of the demo's pool."""
        utterances = sorted(read_manifest(packaged("corpus/pool.jsonl")), key=lambda u: u.end_time - u.begin_time)
        write_manifest(tmp_path / "pool.jsonl", utterances[:30])
        return tmp_path / "pool.jsonl"

    def test_prints_a_table_or_one_object(self, pool, teacher_path, tmp_path, capsys):
        arguments = ["--teacher", teacher_path, "--manifest", pool, "--output", tmp_path / "out.jsonl"]
        arguments += ["--max-new-tokens", 4, "--batch-size", 16, "--unfinished", "keep", "--min-logprob", "off"]
        code, out, _ = run("transcribe", *arguments, "--max-characters-per-second", "off", capsys=capsys)
        assert code == 0
        assert "30 of 30 utterances kept (100.00%)" in out
        assert f"written to {tmp_path / 'out.jsonl'}" in out
        kept = read_manifest(tmp_path / "out.jsonl")
        assert len(kept) == 30
        rates = sorted(sum(map(str.isalnum, u.text)) / (u.end_time - u.begin_time) for u in kept)
        code, out, _ = run("transcribe", *arguments, "--max-characters-per-second", rates[15], "--json", capsys=capsys)
        assert code == 0
        result = json.loads(out)
        assert result["output"] == str(tmp_path / "out.jsonl")
        assert result["n_dropped"] == result["filters"]["max_characters_per_second"]["n_dropped"] > 0

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (["--batch-size", "9"], "batch_size is 32, not 9; delete it to start again"),
            (["--min-characters-per-second", "99"], "nothing is left: 0 of 30 transcripts"),
            (["--device", "nowhere"], "--device nowhere cannot be used"),
        ],
    )
    def test_mistakes_are_one_message(self, pool, teacher_path, tmp_path, capsys, changes, message):
        arguments = ["--teacher", teacher_path, "--manifest", pool, "--output", tmp_path / "out.jsonl"]
        arguments += ["--max-new-tokens", 2, "--unfinished", "keep", "--min-logprob", "off"]
        arguments += ["--max-characters-per-second", "off"]
        run("transcribe", *arguments, capsys=capsys)
        code, _, err = run("transcribe", *arguments, *changes, capsys=capsys)
        assert code == 1
        assert message in err.replace("\n", "")
        assert "Traceback" not in err

    def test_a_killed_job_goes_on_to_the_same_bytes(self, pool, tmp_path):
        """SIGKILL in the middle of a batch or between two, then the same command again."""

        def command(folder):
            words = [sys.executable, "-m", "distill.cli", "transcribe", "--teacher", packaged("teacher")]
            words += ["--manifest", pool, "--output", tmp_path / folder / "out.jsonl"]
            return [*words, "--max-new-tokens", "48", "--batch-size", "1", "--max-characters-per-second", "12"]

        subprocess.run(command("whole"), check=True, capture_output=True)
        process = subprocess.Popen(command("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        journal = tmp_path / "killed" / "out.journal.jsonl"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (journal.exists() and journal.read_bytes().count(b"\n") >= 4):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert 4 <= journal.read_bytes().count(b"\n") < 31
        assert not (tmp_path / "killed" / "out.jsonl").exists()
        subprocess.run(command("killed"), check=True, capture_output=True)
        names = ["out.dropped.jsonl", "out.journal.jsonl", "out.jsonl", "out.summary.json"]
        assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == names
        for name in names:
            assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
