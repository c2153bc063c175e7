"""What a preflight says of a server whose limits, prompts and weights are known."""

import json
import shutil

import pytest

from distill import cli, read_manifest
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.probing.preflight import preflight
from distill.recipe import Teacher
from distill.teacher import ServerError, load_served_teacher

SOURCE = AudioSource(AudioCache())
CLIPS = 3


@pytest.fixture(scope="module")
def clips(manifests):
    return read_manifest(manifests["probe"])[:CLIPS]


@pytest.fixture
def ask(server, served_models, clips):
    def ask(name="teacher", model=None, k=5, **settings):
        section = Teacher(
            model=str(model or served_models[name]), url=server.url, server={"served_name": name, **settings}
        )
        return preflight(load_served_teacher(section, k), SOURCE, clips, k, max_new_tokens=6)

    return ask


def test_one_model_in_two_engines(server, ask):
    server.control(max_logprobs=20)
    found = ask()
    assert (found.max_logprobs, found.at_least, found.max_length, found.asked) == (20, False, 4096, 13)
    assert found.same_prompts == found.n_clips == CLIPS
    assert found.problems == ()
    assert found.noise.overlap_ratio.value == found.noise.top1_agreement.value == 1.0
    assert found.noise.difference.value <= found.noise.largest < 1e-4
    assert found.noise.n_tokens == 13 * found.noise.overlap_ratio.n_positions
    assert 0 < found.latency.low <= found.latency.median <= found.latency.high
    words = str(found)
    assert "20 a position; 13 are asked for, k = 5" in words
    assert "no problems found" in words
    tree = found.to_dict()
    assert tree["noise"]["overlap_ratio"]["n_groups"] == CLIPS
    json.dumps(tree, allow_nan=False)


def test_another_model_than_the_local_weights_is_seen(ask, served_models):
    found = ask("student", model=served_models["teacher"])
    assert found.noise.overlap_ratio.value < 0.9
    assert found.noise.largest > 0.1


@pytest.mark.parametrize("named", [True, False])
def test_a_limit_below_what_is_asked_for(server, ask, named):
    """Said by the server, or found by asking for less."""
    server.control(max_logprobs=11, limit_named=named)
    found = ask()
    assert (found.max_logprobs, found.at_least) == (11, False)
    assert found.noise is None
    assert found.problems == (
        "the server returns 11 log-probabilities a position, 13 are asked for: start it with more (vllm serve "
        "--max-logprobs 13), or set top_logprobs = 11",
    )
    server.control(max_logprobs=3, limit_named=named)
    assert "set top_logprobs = 3 and k to at most 3" in ask().problems[0]


def test_a_server_without_a_limit(server, ask):
    server.control(max_logprobs=10**6)
    assert (ask().max_logprobs, ask().at_least) == (76, False)  # the whole vocabulary


def test_a_template_of_its_own(ask, served_models, tmp_path):
    """The server's prompt is another than the local processor's."""
    local = shutil.copytree(served_models["teacher"], tmp_path / "local")
    template = local / "chat_template.jinja"
    template.write_text(template.read_text().replace("system\\n<|im_end|>", "system\\nhello<|im_end|>"))
    found = ask(model=local)
    assert found.same_prompts == 0
    assert "3 of 3 prompts differ, utterance" in found.problems[0]
    assert "at the server and" in found.problems[0]


def test_a_tokenizer_alone_is_enough(ask, served_models, tmp_path):
    local = shutil.copytree(
        served_models["teacher"], tmp_path / "local", ignore=shutil.ignore_patterns("*.safetensors")
    )
    found = ask(model=local)
    assert found.noise is None
    assert "not compared: the teacher's directory holds no weights" in str(found)


def test_failures_that_passed_are_shown(server, ask):
    server.control(max_logprobs=100, faults=[{"status": 503}])
    found = ask()
    assert (found.n_retried, found.to_dict()["n_retried"]) == (1, 1)
    assert "1 that passed when the request was repeated" in str(found)
    again = ask()
    assert again.n_retried == 0
    assert "failures" not in str(again)


def test_a_server_that_does_not_hear(server, ask):
    server.control(max_logprobs=100, faults=[{"status": 400}] * 4)
    with pytest.raises(ServerError, match=r"status 400 for utterance '.+': made to fail"):
        ask()


def run(*arguments, capsys) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


@pytest.fixture
def arguments(server, served_models, manifests):
    served = ("--teacher-url", server.url, "--teacher", served_models["teacher"], "--served-name", "teacher")
    return ["probe", *served, "--manifest", manifests["probe"], "--k", 5, "--max-utterances", CLIPS]


def test_the_command_prints_a_table_or_json(server, arguments, capsys):
    arguments += ["--max-new-tokens", 6, "--preflight"]
    code, out, _ = run(*arguments, capsys=capsys)
    assert code == 0
    assert "latency" in out
    server.control(max_logprobs=9)
    code, out, _ = run(*arguments, "--json", capsys=capsys)
    assert code == 1
    assert json.loads(out)["max_logprobs"] == 9


def test_a_probe_prints_bounds_and_says_so(arguments, student_path, tmp_path, capsys):
    arguments += ["--student", student_path, "--max-new-tokens", 6, "--cache", tmp_path / "kept"]
    code, out, err = run(*arguments, "--output", tmp_path / "trace.parquet", capsys=capsys)
    assert code == 0
    assert "[lower, upper] are bounds over what the teacher does not list" in out
    assert (tmp_path / "trace.parquet").is_file()
    assert f"0 of {2 * CLIPS} answers from" in err.replace("\n", " ")
    code, out, err = run(*arguments, "--json", capsys=capsys)
    tree = json.loads(out)
    assert f"{2 * CLIPS} of {2 * CLIPS} answers from" in err.replace("\n", " ")
    ends = tree["bounds"]["estimates"]
    assert ends["forward_kl.lower"]["value"] < ends["forward_kl.upper"]["value"]
    assert tree["summary"]["estimates"]["union_size"]["value"] == ends["union_size.lower"]["value"]
    assert "forward_kl" not in tree["summary"]["estimates"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), "--student is missing"),
        (("--student", "x", "--temperature", "2"), "a server's log-probabilities are at temperature 1"),
        (("--preflight", "--api", "sglang", "--top-logprobs", "2"), "top_logprobs = 2 is fewer than support.k = 5"),
    ],
)
def test_mistakes_are_one_message(arguments, capsys, more, words):
    code, _, err = run(*arguments, *more, capsys=capsys)
    assert code == 1
    assert words in err.replace("\n", " ")


def test_a_preflight_needs_a_server(manifests, capsys):
    code, _, err = run("probe", "--teacher", "x", "--manifest", manifests["probe"], "--preflight", capsys=capsys)
    assert code == 1
    assert "give its --teacher-url" in err
