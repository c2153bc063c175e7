"""A teacher behind a real HTTP server that runs the same weights: what it says is what the local engine computes."""

import json
import shutil
import time

import numpy as np
import pytest
import torch

from distill import read_manifest
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.models import ModelError, load_recognizer
from distill.models.base import pack
from distill.probing.probe import probe
from distill.recipe import Decoding, SupportSettings, Teacher
from distill.recipe.gate_statistics import OWN_STATISTICS
from distill.scoring.local_or_served import compare
from distill.scoring.pair import Pair
from distill.teacher import ServerError, conversation, load_served_teacher
from distill.teacher.local_tokenizer import load_reader
from overlap.definitions import BOUNDED_STATISTICS, DECIDED_BY_TOP_K
from tests.distill.small_models import save_whisper

K = 5
SOURCE, SUPPORT, SHORT = AudioSource(AudioCache()), SupportSettings(k=K), Decoding(max_new_tokens=6)


@pytest.fixture(scope="module")
def utterances(manifests):
    return read_manifest(manifests["probe"])[:5]


@pytest.fixture(scope="module")
def student(student_path):
    return load_recognizer(str(student_path))


@pytest.fixture
def teacher(server, served_models):
    def make(name="teacher", k=K, **settings):
        section = Teacher(model=str(served_models[name]), url=server.url, server={"served_name": name, **settings})
        return load_served_teacher(section, k)

    return make


def lists(teacher, utterances, texts=None):
    """What the server lists of the references."""
    texts = texts or [utterance.text for utterance in utterances]
    return teacher.topk_logprobs(SOURCE.batch(utterances).prompt(teacher), texts, teacher.encode(texts))


class TestEquality:
    """With the local engine, an utterance at a time: padding changes what it computes."""

    @pytest.mark.parametrize("api", ["vllm", "sglang"])
    def test_lists_are_the_local_engines_best(self, teacher, served_models, utterances, api):
        served, local = teacher(api=api), load_recognizer(str(served_models["teacher"]))
        ids, logprobs = lists(served, utterances)
        for row, utterance in enumerate(utterances):
            transcripts = local.encode([utterance.text])
            with torch.no_grad():
                scored = local.score(SOURCE.batch([utterance]).prompt(local), transcripts)[0].log_softmax(-1)
            best, best_ids = scored.topk(K + 8)
            n = len(best)
            assert (ids[row, :n] == best_ids).float().mean() > 0.99  # two may change places in the last bit
            torch.testing.assert_close(logprobs[row, :n], best.double(), atol=2e-5, rtol=0)
            assert (ids[row, n:] == -1).all()

    @pytest.mark.parametrize(
        ("name", "states"), [("teacher", "student"), ("teacher", "reference"), ("padded", "student")]
    )
    def test_bounds_hold_the_exact_statistics(self, teacher, student, served_models, utterances, name, states):
        local = load_recognizer(str(served_models[name]))
        truth = probe(
            Pair.from_models(student, local, K), SOURCE, utterances, SUPPORT, SHORT, states=states, batch_size=1
        )
        # Every rollout as the server reads it, cut into tokens anew, so that both are measured at the same positions.
        recorded = {id_: rollout for id_, rollout in truth.rollouts.items() if _canonical(student, rollout)}
        kept = [utterance for utterance in utterances if utterance.id in recorded]
        assert len(kept) >= 2
        options = {"states": states, "recorded": recorded}
        truth = probe(Pair.from_models(student, local, K), SOURCE, kept, SUPPORT, SHORT, batch_size=1, **options)
        result = probe(
            Pair.from_models(student, teacher(name), K), SOURCE, kept, SUPPORT, SHORT, batch_size=1, **options
        )
        assert result.funnel == truth.funnel
        assert tuple(result.bounds) == BOUNDED_STATISTICS
        for statistic, (low, high) in result.bounds.items():
            exact = truth.estimates[statistic]
            assert low.value - 1e-4 <= exact.value <= high.value + 1e-4, statistic
            assert low.n_positions == exact.n_positions
        for statistic in (*DECIDED_BY_TOP_K, *OWN_STATISTICS):
            assert result.estimates[statistic].value == pytest.approx(truth.estimates[statistic].value, abs=1e-5)
            assert result.estimates[statistic].n_undefined == 0
        assert result.bounds["forward_kl"][1].value > result.bounds["forward_kl"][0].value

    @pytest.mark.parametrize("name", ["teacher", "padded"])
    def test_a_list_of_the_whole_vocabulary_decides_everything(self, teacher, student, served_models, utterances, name):
        local, served = load_recognizer(str(served_models[name])), teacher(name, top_logprobs=1000)
        assert served.n_topk == served.tokens.size == local.generator.config.text_config.vocab_size
        options = {"states": "reference"}
        truth = probe(Pair.from_models(student, local, K), SOURCE, utterances, SUPPORT, SHORT, batch_size=1, **options)
        result = probe(
            Pair.from_models(student, served, K), SOURCE, utterances, SUPPORT, SHORT, batch_size=1, **options
        )
        for statistic, (low, high) in result.bounds.items():
            exact = truth.estimates[statistic].value
            assert low.value == pytest.approx(exact, abs=1e-3), statistic
            assert high.value == pytest.approx(exact, abs=1e-3), statistic

    def test_a_teacher_of_shuffled_ids_is_the_same_teacher(self, teacher, student, utterances):
        results = [
            probe(
                Pair.from_models(student, teacher(name), K),
                SOURCE,
                utterances,
                SUPPORT,
                SHORT,
                states="reference",
                traced=1,
            )
            for name in ("teacher", "shuffled")
        ]
        assert results[0].funnel == results[1].funnel
        assert results[1].coverage is not None
        for statistic, ends in results[0].bounds.items():
            for one, two in zip(ends, results[1].bounds[statistic], strict=True):
                assert two.value == pytest.approx(one.value, abs=1e-4), statistic
        assert results[0].traces[0]["union_ids"] == results[1].traces[0]["union_ids"]

    @pytest.mark.parametrize("api", ["vllm", "sglang"])
    def test_it_writes_what_the_local_engine_writes(self, server, teacher, served_models, utterances, api):
        server.control(native="trained")
        served, local = teacher("trained", api=api), load_recognizer(str(served_models["trained"]))
        batch = SOURCE.batch(utterances)
        for limit in (4, 40):
            written = served.rollout(batch.prompt(served), max_new_tokens=limit)
            for row, utterance in enumerate(utterances):
                here = local.rollout(SOURCE.batch([utterance]).prompt(local), max_new_tokens=limit)
                assert written.ids[row][written.mask[row]].tolist() == here.ids[0].tolist()
                assert written.finished[row] == here.finished[0]

    def test_glm_asr_is_asked_in_its_own_words(self, teacher, served_models, utterances):
        served, local = teacher("glm"), load_recognizer(str(served_models["glm"]))
        texts = ["the theses", ""]
        ids, logprobs = lists(served, utterances[:2], texts)
        for row, utterance in enumerate(utterances[:2]):
            transcripts = local.encode([texts[row]])
            with torch.no_grad():
                prompt = SOURCE.batch([utterance]).prompt(local)
                logits = local.model(
                    **{**prompt.inputs, "input_ids": torch.cat([prompt.inputs["input_ids"], transcripts.ids], 1)}
                    | {"attention_mask": torch.ones(1, prompt.inputs["input_ids"].shape[1] + transcripts.ids.shape[1])}
                ).logits[0, prompt.inputs["input_ids"].shape[1] - 1 : -1]
            best, best_ids = logits.log_softmax(-1).topk(K + 8)
            assert torch.equal(ids[row, : len(best)], best_ids)
            torch.testing.assert_close(logprobs[row, : len(best)], best.double(), atol=2e-5, rtol=0)


def _canonical(student, rollout) -> bool:
    """Whether a transcript is what its text is cut into."""
    ids, finished = rollout
    again = student.encode(student.decode(pack([ids], student.tokens.end_of_text)))
    return again.ids[0].tolist()[: len(ids)] == list(ids) and again.ids.shape[1] == len(ids) + (not finished)


class TestBadTransport:
    def test_a_busy_server_is_asked_again_when_it_says(self, server, teacher, utterances):
        served, expected = teacher(), lists(teacher(), utterances[:1])
        server.control(max_logprobs=100, faults=[{"status": 429, "retry_after": "0.7"}])
        start = time.perf_counter()
        found = lists(served, utterances[:1])
        assert time.perf_counter() - start >= 0.7
        assert served.client.n_retried == 1
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])

    @pytest.mark.parametrize("fault", [{"status": 500}, {"status": 503}, {"cut": 300}, {"hang_up": True}])
    def test_passing_failures_pass(self, server, teacher, utterances, fault):
        server.control(max_logprobs=100, faults=[fault, fault])
        served = teacher()
        lists(served, utterances[:1])
        assert served.client.n_retried == 2
        assert server.seen["requests"] == 3

    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            ({"status": 500}, r"status 500: made to fail for utterance '.+', 2 attempts\. Lower concurrency"),
            ({"cut": 300}, r"status 200, but 300 bytes that are not JSON .+ for utterance '.+', 2 attempts"),
            ({"sleep": 1.0}, r"no answer within 0\.3 s .+ for utterance '.+', 2 attempts\. Raise timeout_seconds"),
            ({"hang_up": True}, r"Error: .+ for utterance '.+', 2 attempts\. Check that the server runs"),
        ],
    )
    def test_lasting_ones_are_named(self, server, teacher, utterances, fault, words):
        lists(teacher(), utterances[:1])  # the model is loaded
        server.control(max_logprobs=100, faults=[fault] * 2)
        with pytest.raises(ServerError, match=f"POST {server.url}/v1/chat/completions: .*{words}"):
            lists(teacher(retries=1, timeout_seconds=0.3 if "sleep" in fault else 60.0), utterances[:1])

    @pytest.mark.parametrize(
        ("status", "words"), [(400, "Repeating the request will not help"), (401, "key_variable"), (413, "too long")]
    )
    def test_what_is_refused_is_not_asked_again(self, server, teacher, utterances, status, words):
        server.control(max_logprobs=100, faults=[{"status": status}])
        with pytest.raises(ServerError, match=f"status {status} for utterance '.+': made to fail.*{words}"):
            lists(teacher(), utterances[:1])
        assert server.seen["requests"] == 1

    def test_so_many_requests_at_once_and_no_more(self, server, teacher, utterances):
        batch = [*utterances, *utterances[:4]]
        server.control(max_logprobs=100, faults=[{"sleep": 0.2}] * len(batch))
        lists(teacher(concurrency=3), batch)
        assert 2 <= server.seen["most_busy"] <= 3  # on a busy machine the third may come late

    def test_the_first_failure_ends_the_batch(self, server, teacher, utterances):
        server.control(max_logprobs=100, faults=[{"status": 400}, *[{"sleep": 0.2}] * 20])
        with pytest.raises(ServerError, match="status 400"):
            lists(teacher(concurrency=2), list(utterances) * 4)
        assert server.seen["requests"] < 8

    def test_nobody_there(self, served_models):
        section = Teacher(model=str(served_models["teacher"]), url="http://127.0.0.1:9", server={"retries": 0})
        with pytest.raises(ServerError, match=r"GET http://127\.0\.0\.1:9/v1/models: .*Check that the server runs"):
            load_served_teacher(section, K)

    def test_no_url(self, served_models):
        with pytest.raises(ServerError, match="'localhost:8000' is not the URL of a server; give one such as http://"):
            load_served_teacher(Teacher(model=str(served_models["teacher"]), url="localhost:8000"), K)

    def test_a_url_may_end_in_v1_and_another_model_is_not_taken(self, server, served_models):
        section = Teacher(model=str(served_models["teacher"]), url=f"{server.url}/v1/")
        with pytest.raises(ServerError, match=r"does not serve '.+' but \['glm', 'padded', .*\(served_name"):
            load_served_teacher(section, K)

    def test_a_key_is_in_a_variable(self, server, served_models, monkeypatch):
        section = Teacher(model=str(served_models["teacher"]), url=server.url, server={"key_variable": "NO_SUCH_KEY"})
        with pytest.raises(ServerError, match=r"environment variable NO_SUCH_KEY .* is not set"):
            load_served_teacher(section, K)


class TestBadContent:
    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            ({"more": -3}, r"tokens at position 0 of \d+, asked for 13\. It has a limit: .* --max-logprobs"),
            ({"more": 3}, r"tokens at position 0 of \d+, .*(more than the 13 asked for|does not do what top_logprobs)"),
            ({"shifted": True}, r"token \d+ of the transcript's \d+ is \d+ \(.+\) there and \d+ \(.+\) in the local"),
            ({"scores": True}, "probabilities at position 0 .* add up to .* --logprobs-mode raw_logprobs"),
            ({"holes": True}, "no log-probabilities at position 0 .* --no-enable-prefix-caching"),
        ],
    )
    def test_another_answer_than_was_asked_for(self, server, teacher, utterances, fault, words):
        server.control(max_logprobs=100, faults=[fault])
        with pytest.raises(ServerError, match=rf"{server.url} \(vllm\), utterance '{utterances[0].id}': .*{words}"):
            lists(teacher(), utterances[:1])
        assert server.seen["requests"] == 1

    def test_more_than_the_limit(self, server, teacher, utterances):
        server.control(max_logprobs=9)
        with pytest.raises(ServerError, match=r"status 400 .* prompt logprobs of 13, .* max allowed: 9"):
            lists(teacher(), utterances[:1])
        lists(teacher(top_logprobs=9), utterances[:1])
        with pytest.raises(ModelError, match=r"top_logprobs = 4 is fewer than support\.k = 5"):
            teacher(top_logprobs=4)

    def test_older_servers_without_token_ids_are_checked_by_their_entries(self, server, teacher, utterances):
        expected = lists(teacher(), utterances[:1])
        server.control(max_logprobs=100, faults=[{"old": True}])
        found = lists(teacher(), utterances[:1])
        assert torch.equal(found[0], expected[0])

    def test_the_wrong_api(self, teacher, utterances):
        for api, words in (("sglang", "no input_top_logprobs"), ("vllm", "no prompt_logprobs")):
            served = teacher(api=api)
            served.client.post = lambda *_: {"text": "x", "meta_info": {}}
            with pytest.raises(ServerError, match=f"{words} of the whole prompt"):
                lists(served, utterances[:1])

    def test_a_tokenizer_of_another_family(self, server, tmp_path):
        path = save_whisper(tmp_path / "whisper")
        with pytest.raises(ModelError, match=r"'whisper' model; servers return .* \['glmasr', 'qwen3_asr'\]"):
            load_served_teacher(Teacher(model=str(path), url=server.url), K)
        with pytest.raises(ModelError, match="cannot load the tokenizer of '/nowhere'"):
            load_served_teacher(Teacher(model="/nowhere", url=server.url), K)

    def test_a_template_that_asks_something_else(self, served_models, tmp_path):
        other = shutil.copytree(served_models["teacher"], tmp_path / "other")
        template = other / "chat_template.jinja"
        template.write_text(template.read_text().replace("system\\n<|im_end|>", "system\\nhello<|im_end|>"))
        reader = load_reader(str(other))
        conversation.conversation(reader, "English")
        reader.processor.chat_template = (served_models["teacher"] / "chat_template.jinja").read_text() + "more"
        reader.prepare = load_reader(str(other)).prepare
        with pytest.raises(ModelError, match="A server renders the chat template; use a local teacher"):
            conversation.conversation(reader, "English")


class TestCache:
    def test_nothing_is_asked_twice(self, server, teacher, utterances, tmp_path):
        first, second = (teacher(cache=str(tmp_path / "kept")) for _ in range(2))
        expected = lists(first, utterances)
        server.control(max_logprobs=100)
        found = lists(second, utterances)
        assert server.seen["requests"] == 0
        assert (first.cache.hits, first.cache.misses) == (0, len(utterances))
        assert (second.cache.hits, second.cache.misses) == (len(utterances), 0)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])

    def test_whatever_an_answer_depends_on_is_asked_anew(self, server, teacher, utterances, tmp_path):
        folder = str(tmp_path / "kept")
        lists(teacher(cache=folder), utterances[:1])
        server.control(max_logprobs=100)
        lists(teacher(cache=folder, top_logprobs=7), utterances[:1])
        lists(teacher("student", cache=folder), utterances[:1])
        lists(teacher(cache=folder), utterances[:1], ["other words"])
        lists(teacher(cache=folder), utterances[1:2], [utterances[0].text])
        assert server.seen["requests"] == 4

    def test_a_broken_entry_is_written_anew(self, server, teacher, utterances, tmp_path):
        expected = lists(teacher(cache=str(tmp_path)), utterances[:1])
        [entry] = tmp_path.rglob("*.npz")
        whole = entry.read_bytes()
        for content in (b"", whole[: len(whole) // 2]):
            entry.write_bytes(content)
            found = lists(teacher(cache=str(tmp_path)), utterances[:1])
            assert torch.equal(found[1], expected[1])
            assert entry.read_bytes() == whole
        assert [path.name for path in tmp_path.rglob("*.tmp")] == []

    def test_one_bad_utterance_does_not_cost_the_others(self, server, teacher, utterances, tmp_path):
        server.control(max_logprobs=100, faults=[{}, {}, {"status": 400}])
        with pytest.raises(ServerError):
            lists(teacher(cache=str(tmp_path), concurrency=1), utterances)
        assert len(list(tmp_path.rglob("*.npz"))) == 2
        lists(teacher(cache=str(tmp_path), concurrency=1), utterances)
        assert server.seen["requests"] == 3 + len(utterances) - 2


def test_requests_are_those_of_vllms_protocol(server, teacher, utterances):
    lists(teacher(), utterances[:1])
    [body] = server.seen["sent"]
    assert body == {
        "model": "teacher",
        "add_generation_prompt": False,
        "continue_final_message": True,
        "return_token_ids": True,
        "max_tokens": 1,
        "temperature": 0.0,
        "prompt_logprobs": 13,
        "logprobs": True,
        "top_logprobs": 13,
        "return_tokens_as_token_ids": True,
    }


def test_traces_show_what_is_listed(teacher, student, utterances):
    result = probe(
        Pair.from_models(student, teacher(), K), SOURCE, utterances, SUPPORT, SHORT, states="reference", traced=1
    )
    [row] = result.traces
    for t in range(len(row["token_ids"])):
        logprobs = np.array(row["teacher_logprobs"][t])
        inside = np.array(row["in_teacher"][t])
        assert len(logprobs) == row["union_size"][t]
        assert np.isfinite(logprobs[inside]).all()
        assert inside.sum() == K
        assert row["forward_kl.lower"][t] <= row["forward_kl.upper"][t]
    json.dumps(row, default=bytes.hex)  # a token's bytes are the one thing that JSON has no word for


def test_gradients_reach_the_student_alone(teacher, student, utterances):
    batch, pair = SOURCE.batch(utterances[:2]), Pair.from_models(student, teacher(), K)
    compared = compare(pair, batch, student.encode([u.text for u in utterances[:2]]), SUPPORT, gradients=True)
    assert compared.student_logits.requires_grad
    assert not compared.topk_logprobs.requires_grad
    assert {"union_size", "forward_kl.lower", "forward_kl.upper"} <= set(compared.sums().names)
