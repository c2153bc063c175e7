"""Whatever a server answers, the outcome is right numbers or a ServerError within a bounded time, and nothing else."""

import copy
import gzip
import json
import math
import os
import sys
import time
import warnings
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from distill.locations import packaged
from distill.models.base import pack
from distill.teacher import ServerError, json_client, load_served_teacher
from distill.teacher.cache import TopkCache
from distill.teacher.json_client import JsonClient, ServerAsksToWait
from distill.teacher.loading import served_models
from distill.teacher.local_tokenizer import load_reader
from distill.teacher.served import ServedPrompt, ServedTeacher
from distill.teacher.sglang import Sglang
from distill.teacher.topk_logprobs import Reply, ReplyError, TopkLogprobs
from distill.teacher.vllm import Vllm
from tests.distill.teacher.hostile_server import Act, HostileServer
from tests.distill.teacher.hostile_server import http as answer

TIMEOUT, PATIENCE = 0.2, 30.0
"""Seconds of an attempt, and what a machine with other work may add."""
M, TEXT = 5, "four five"
QUICK = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**30, -1, 2**63, 1e308, math.nan, math.inf, -math.inf, "", "5", "-1", "token_id:3", "\ud800"]),
    st.floats(),
    st.text(max_size=5),
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def hostile():
    server = HostileServer()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(json_client, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(json_client, "LONGEST_WAIT_SECONDS", 0.05)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@cache
def reader():
    return load_reader(str(packaged("teacher")))


@cache  # a new one reads the machine's certificates
def client(url, retries=0, timeout=20.0, **options):
    return JsonClient(url, timeout_seconds=timeout, retries=retries, **options)


def refused(error, *words):
    """A message that says what it is about, and that can be printed."""
    assert all(word in str(error) for word in words)
    str(error).encode()


@cache
def served(url, api):
    protocol = Vllm() if api == "vllm" else Sglang(reader().processor)
    return ServedTeacher(reader(), client(url, timeout=5.0), protocol, "model", "model", M)


def prompt(teacher):
    made = teacher.prepare([np.zeros(1600, np.float32)], ["English"])
    assert isinstance(made, ServedPrompt)
    return ServedPrompt({}, ("clip",), made.waveforms, made.conversations)


class TestTransport:
    statuses = st.sampled_from(
        ["200 OK", "204 No Content", "302 Found", "304 Not Modified", "400 Bad", "429 Busy", "500 Oops", "999 Odd"]
    )
    values = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=12)
    headers = st.lists(
        st.tuples(
            st.sampled_from(["Retry-After", "Location", "Content-Type", "Content-Encoding", "Content-Length"])
            | st.sampled_from(["Transfer-Encoding", "Set-Cookie", "Date"]),
            values
            | st.sampled_from(["gzip", "br", "deflate", "chunked", "inf", "1e999", "text/html; charset=hex", "3"]),
        ),
        max_size=3,
    ).map(tuple)
    bodies = st.binary(max_size=40) | trees.map(lambda tree: json.dumps(tree).encode())

    @settings(QUICK, max_examples=60)
    @example(begin=answer(b"[" * 100_000 + b"]" * 100_000), drip=b"")  # deeper than a parser can go
    @example(begin=answer(b'{"data": ' + b"9" * 5000 + b"}"), drip=b"")  # more digits than int() takes
    @example(begin=answer(b"busy", "503 Busy", (("Retry-After", "inf"),)), drip=b"")
    @example(begin=answer(b"busy", "503 Busy", (("Retry-After", "Mon, 99 Foo 99999 99:99:99 GMT"),)), drip=b"")
    @example(begin=answer(b"nothing packed", headers=(("Content-Encoding", "gzip"),)), drip=b"")
    @example(begin=answer(gzip.compress(b"{}"), headers=(("Content-Encoding", "gzip"),)), drip=b"")
    @example(begin=b"HTTP/1.1 200 OK\r\n", drip=b"X")  # a header without end
    @example(begin=b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", drip=b" ")
    @example(begin=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", drip=b"1\r\n \r\n")
    @example(begin=b"", drip=b"HTTP/1.1 100 Continue\r\n\r\n")
    @example(begin=b"SSH-2.0-OpenSSH_9.2\r\n", drip=b"")
    @given(
        begin=st.builds(answer, bodies, statuses, headers) | st.binary(max_size=80),
        drip=st.sampled_from([b"", b"", b"", b"", b"", b"", b"", b"", b"", b" "]),
    )
    def test_it_ends_in_an_object_or_a_server_error_in_time(self, hostile, begin, drip):
        hostile.will(Act(begin, drip))
        start = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ServerAsksToWait)
            try:
                assert isinstance(
                    client(hostile.url, retries=1, timeout=TIMEOUT).post("/x", {}, "utterance 'clip'"), dict
                )
            except ServerError as error:
                refused(error, f"POST {hostile.url}/x: ", "utterance 'clip'")
        assert time.monotonic() - start < 2 * TIMEOUT + PATIENCE

    @pytest.mark.parametrize("begin", [b"HTTP/1.1 200 OK\r\nX", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{"])
    def test_a_server_that_drips_is_not_waited_for_without_end(self, hostile, begin):
        hostile.will(Act(begin, drip=b" "))
        start = time.monotonic()
        with pytest.raises(ServerError, match=r"no (complete )?answer within 0\.2 s .*1 attempt\. Raise timeout"):
            client(hostile.url, timeout=TIMEOUT).get("/v1/models")
        assert time.monotonic() - start < TIMEOUT + PATIENCE

    def test_what_came_until_then_is_told(self, hostile):
        hostile.will(Act(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + b"{" * 17))
        hostile.will(Act(hostile.acts[0].begin, drip=b" ", pause=60.0))
        with pytest.raises(ServerError, match=r"no complete answer within 3 s \(18 bytes received\)"):
            client(hostile.url, timeout=3.0).get("/v1/models")

    def test_an_answer_beyond_all_measure(self, hostile, monkeypatch):
        monkeypatch.setattr("distill.teacher.http_request.LARGEST_ANSWER_BYTES", 1000)
        packed = gzip.compress(b" " * 10_000_000)
        hostile.will(Act(answer(packed, headers=(("Content-Encoding", "gzip"),))))
        with pytest.raises(ServerError, match="an answer of more than 1,000 bytes"):
            client(hostile.url).get("/v1/models")

    @pytest.mark.parametrize("place", ["https://elsewhere.example/v1", "", "\x1b[2J"])
    def test_a_redirect_is_told_and_not_followed(self, hostile, place):
        hostile.will(Act(answer(b"", "307 Temporary", (("Location", place),) if place else ())))
        words = place if place.startswith("https") else ""
        with pytest.raises(ServerError, match=f"307.*{words}.*") as caught:
            client(hostile.url).get("/v1/models")
        assert "\x1b" not in str(caught.value)
        if words:
            assert caught.match("set url to the server's own address")
        assert hostile.requests == 1

    @pytest.mark.parametrize(
        ("tree", "words", "status", "requests"),
        [
            ({"error": {"message": "out of\nmemory", "code": 500}}, "out of memory", 500, 2),
            ({"error": "no such model"}, "no such model", 200, 1),
            ({"object": "error", "message": "too many logprobs", "code": 400}, "too many logprobs", 400, 1),
            ({"error": {"code": "context_length_exceeded"}}, "context_length_exceeded", 200, 1),
            ({"error": {"message": "slow down", "code": 429}, "choices": []}, "slow down", 429, 2),
        ],
    )
    def test_an_error_in_an_answer_of_success_is_told(self, hostile, tree, words, status, requests):
        hostile.will(Act(answer(json.dumps(tree).encode())))
        with pytest.raises(ServerError, match=f"status 200, but an error in it.*: .*{words}") as caught:
            client(hostile.url, retries=1).get("/v1/models")
        assert caught.value.status == status
        assert hostile.requests == requests

    def test_no_error_is_none(self, hostile):
        hostile.will(Act(answer(b'{"error": null, "data": []}')))
        assert client(hostile.url).get("/v1/models") == {"error": None, "data": []}


class TestWhatAServerAsks:
    def test_a_long_pause_is_told_and_not_taken(self, hostile):
        hostile.will(Act(answer(b"busy", "429 Busy", (("Retry-After", "86400"),))), Act(answer(b"{}")))
        start = time.monotonic()
        with pytest.warns(ServerAsksToWait, match=r"asks to wait 86400 s, the limit is 0\.05 s; then attempt 2 of 2"):
            client(hostile.url, retries=1).get("/v1/models")
        assert time.monotonic() - start < PATIENCE

    def test_so_it_is_in_the_error_at_the_end(self, hostile):
        hostile.will(Act(answer(b"busy", "503 Busy", (("Retry-After", "3600"),))))
        with pytest.raises(ServerError, match=r"status 503: busy \(it asks to wait 3600 s\)"):
            client(hostile.url).get("/v1/models")

    def test_a_date_is_a_pause(self, hostile):
        when = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
        hostile.will(Act(answer(b"busy", "503 Busy", (("Retry-After", when),))))
        with pytest.raises(ServerError, match=r"it asks to wait 3[56]\d\d"):
            client(hostile.url).get("/v1/models")

    @pytest.mark.parametrize("value", ["inf", "nan", "-5", "soon", "1e999", "Mon, 32 Jan 99999 00:00:00 GMT"])
    def test_nonsense_is_no_pause(self, hostile, value):
        hostile.will(Act(answer(b"busy", "503 Busy", (("Retry-After", value),))), Act(answer(b"{}")))
        assert client(hostile.url, retries=1).get("/v1/models") == {}

    def test_another_requests_failure_ends_the_pause(self, hostile, monkeypatch):
        monkeypatch.setattr(json_client, "FIRST_WAIT_SECONDS", 600.0)
        monkeypatch.setattr(json_client, "LONGEST_WAIT_SECONDS", 600.0)
        hostile.will(Act(answer(b"busy", "503 Busy")))
        asked = client.__wrapped__(hostile.url, retries=9)

        def ask(item):
            if item == "first":
                return asked.get("/v1/models")
            while not asked.n_retried:
                time.sleep(0.01)
            raise KeyError(item)

        start = time.monotonic()
        with pytest.raises(KeyError, match="second"):
            asked.many(ask, ["first", "second"])
        assert time.monotonic() - start < PATIENCE
        assert asked.n_retried == 1


class TestProxies:
    @pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"])
    @pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://127.0.0.1:1", "nonsense://x"])
    def test_this_machine_is_reached_without(self, hostile, monkeypatch, variable, proxy):
        monkeypatch.setenv(variable, proxy)
        hostile.will(Act(answer(b'{"data": []}')))
        for host in ("127.0.0.1", "localhost", "0.0.0.0"):
            url = hostile.url.replace("127.0.0.1", host)
            assert client.__wrapped__(url, timeout=5.0).get("/v1/models") == {"data": []}

    @pytest.mark.parametrize(
        ("proxy", "words"),
        [
            ("socks5://u:secret@127.0.0.1:1", r"socks5://127\.0\.0\.1:1 that ALL_PROXY names is a SOCKS.*pip install"),
            ("gopher://x", r"gopher://x that ALL_PROXY names cannot be used: it needs one of the schemes http"),
            ("http://x:99999", r"http://x:99999 that ALL_PROXY names cannot be used: .* a port below 65,536"),
            ("http://x:y", "ALL_PROXY is not the URL of a proxy"),
            ("http://u:secret@127.0.0.1:9", r"ProxyError|ConnectError.*through the proxy http://127\.0\.0\.1:9"),
        ],
    )
    def test_elsewhere_the_variable_and_the_remedy_are_named(self, monkeypatch, proxy, words):
        monkeypatch.setenv("ALL_PROXY", proxy)
        monkeypatch.setitem(sys.modules, "socksio", None)
        with pytest.raises(ServerError, match=words) as caught:
            client.__wrapped__("http://asr.example:8000", timeout=5.0).get("/v1/models")
        assert "add asr.example to NO_PROXY" in str(caught.value)
        assert "secret" not in str(caught.value)

    def test_a_proxy_that_works_is_used(self, hostile, monkeypatch):
        monkeypatch.setenv("http_proxy", hostile.url)
        hostile.will(Act(answer(b'{"data": []}')))
        assert client.__wrapped__("http://asr.example:8000", timeout=5.0).get("/v1/models") == {"data": []}
        assert hostile.requests == 1

    @pytest.mark.parametrize("exception", ["asr.example", ".example", "*", "other, asr.example"])
    def test_exceptions_are_kept(self, monkeypatch, exception):
        monkeypatch.setenv("ALL_PROXY", "gopher://x")
        monkeypatch.setenv("NO_PROXY", exception)
        client.__wrapped__("http://asr.example:8000")

    def test_exceptions_may_be_networks(self, monkeypatch):
        monkeypatch.setenv("ALL_PROXY", "gopher://x")
        monkeypatch.setenv("NO_PROXY", "192.0.2.0/24")
        client.__wrapped__("http://192.0.2.7:8000")
        with pytest.raises(ServerError, match="ALL_PROXY"):
            client.__wrapped__("http://192.0.3.7:8000")


@pytest.mark.parametrize("url", ["http://", "http://a b", "http://x:99999999", "ftp://x", "http://[::1"])
def test_urls_that_are_none(url):
    with pytest.raises(ServerError, match=r"is not the URL of a server.*give one such as http://"):
        client.__wrapped__(url)


@pytest.mark.parametrize("key", ["secret\n", "sécret", "se\tcret"])
def test_a_key_that_no_header_takes(key):
    with pytest.raises(ServerError, match="the server's key contains") as caught:
        client.__wrapped__("http://127.0.0.1:9", key=key)
    assert "cret" not in str(caught.value)


def _distribution(rng, size, own):
    """M best of a random distribution over the vocabulary, and the prompt's own token where it is not among them."""
    logits = rng.normal(size=size) * 3
    logprobs = logits - np.logaddexp.reduce(logits)
    best = [int(i) for i in np.argsort(-logprobs)[:M]]
    listed = best if own is None or own in best else [own, *best]
    return [(token, float(logprobs[token])) for token in listed]


def right_answer(teacher, api, seed):
    """What a server says of TEXT, the rows that it lists, and the tokens."""
    rng, tokens = np.random.default_rng(seed), teacher.encode([TEXT]).ids[0].tolist()[:-1]
    size, prefix = teacher.tokens.size, [7, 8, 9]
    rows = [_distribution(rng, size, own) for own in tokens] + [_distribution(rng, size, None)]
    own = [*prefix, *tokens]
    if api == "vllm":
        entries = [None, *([{str(i): {"logprob": v} for i, v in rows[0]}] * (len(prefix) - 1))]
        entries += [{str(i): {"logprob": v, "rank": 1} for i, v in row} for row in rows[:-1]]
        top = [{"token": f"token_id:{i}", "logprob": v} for i, v in rows[-1]]
        choice = {
            "message": {"content": "x"},
            "finish_reason": "length",
            "logprobs": {"content": [{"top_logprobs": top}]},
        }
        return {"choices": [choice], "prompt_logprobs": entries, "prompt_token_ids": own}, rows, tokens
    kept = [
        [pair for pair in row if len(row) == M or pair[0] != own]
        for row, own in zip(rows, [*tokens, None], strict=True)
    ]
    listed = [[[v, i, None] for i, v in row] for row in kept]
    meta = {
        "input_token_logprobs": [[-1.0, i, None] for i in own],
        "input_top_logprobs": [None, *[listed[0]] * (len(prefix) - 1), *listed[:-1]],
        "output_top_logprobs": [listed[-1]],
        "finish_reason": {"type": "length"},
    }
    return {"text": "x", "meta_info": meta}, rows, tokens


def _places(tree, path=()):
    """Paths of all nodes."""
    yield path
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inside:
        yield from _places(value, (*path, key))


@st.composite
def spoiled(draw, tree):
    """A tree with up to three of its nodes replaced, removed or renamed."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(list(_places(tree))[1:] or [("x",)]))
        node = tree
        for key in way:
            node = node[key]
        kind = draw(st.sampled_from(["replace", "remove", "rename", "nudge"]))
        if isinstance(node, dict) and (last == "x" or kind == "remove"):
            node.pop(last, None)
        elif kind == "remove":
            node.pop(last)
        elif kind == "rename" and isinstance(node, dict):
            node[draw(st.sampled_from(["-1", "999999", "5", "05", "٣", "x"]))] = node.pop(last)
        elif kind == "nudge" and isinstance(node[last], (int, float)):
            node[last] += draw(st.sampled_from([-1, 1, 0.5, -1000, 10**7]))
        else:
            node[last] = draw(trees)
    return tree


def _sent(tree, api, n):
    """Pairs (id, log-probability) of each position as they were sent, by a reading of its own."""
    if api == "vllm":
        rows = [[(int(key), item["logprob"]) for key, item in entry.items()] for entry in tree["prompt_logprobs"][-n:]]
        top = tree["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        return [*rows, [(int(item["token"].split(":")[1]), item["logprob"]) for item in top]]
    meta = tree["meta_info"]
    return [
        [(int(i), v) for v, i, *_ in row] for row in [*meta["input_top_logprobs"][-n:], meta["output_top_logprobs"][0]]
    ]


class TestContent:
    @pytest.mark.parametrize("api", ["vllm", "sglang"])
    @QUICK
    @given(data=st.data(), seed=st.integers(0, 5))
    def test_lists_are_what_was_sent_or_refused(self, hostile, api, data, seed):
        teacher = served(hostile.url, api)
        tree, _, tokens = right_answer(teacher, api, seed)
        tree = data.draw(spoiled(tree))
        hostile.will(Act(answer(json.dumps(tree).encode())))
        transcripts = pack([[*tokens, teacher.tokens.end_of_text]], teacher.tokens.end_of_text)
        try:
            ids, logprobs = teacher.topk_logprobs(prompt(teacher), [TEXT], transcripts)
        except ServerError as error:
            refused(error, hostile.url)
            return
        for position, sent in enumerate(_sent(tree, api, len(tokens))):
            found = list(zip(ids[0, position].tolist(), logprobs[0, position].tolist(), strict=True))
            assert set(found) <= set(sent)
            assert len(dict(found)) == M == len(found)
            assert all(0 <= token < teacher.tokens.size for token, _ in found)
            assert [value for _, value in found] == sorted((value for _, value in found), reverse=True)
            assert sum(math.exp(value) for _, value in found) <= 1.01
            own = tokens[position] if position < len(tokens) else None
            assert {token for token, _ in set(sent) - set(found)} <= {own}

    @pytest.mark.parametrize("api", ["vllm", "sglang"])
    def test_a_right_answer_is_read(self, hostile, api):
        teacher = served(hostile.url, api)
        tree, rows, tokens = right_answer(teacher, api, 0)
        hostile.will(Act(answer(json.dumps(tree).encode())))
        transcripts = pack([[*tokens, teacher.tokens.end_of_text]], teacher.tokens.end_of_text)
        ids, logprobs = teacher.topk_logprobs(prompt(teacher), [TEXT], transcripts)
        for position, row in enumerate(rows):
            best = sorted(row[-M:], key=lambda pair: -pair[1])
            assert ids[0, position].tolist() == [token for token, _ in best]
            assert logprobs[0, position].tolist() == [value for _, value in best]

    @pytest.mark.parametrize("api", ["vllm", "sglang"])
    @QUICK
    @given(data=st.data())
    def test_transcripts_are_what_was_sent_or_refused(self, hostile, api, data):
        teacher = served(hostile.url, api)
        ids = teacher.encode([TEXT]).ids[0].tolist()
        choice = {"message": {"content": TEXT}, "finish_reason": "stop", "token_ids": ids}
        right = {"text": TEXT, "output_ids": ids, "meta_info": {"finish_reason": {"type": "stop"}}}
        tree = data.draw(spoiled({"choices": [choice]} if api == "vllm" else right))
        hostile.will(Act(answer(json.dumps(tree).encode())))
        try:
            written = teacher.rollout(prompt(teacher), max_new_tokens=20)
        except ServerError as error:
            refused(error, hostile.url)
            return
        assert int(written.ids.min()) >= 0
        assert int(written.ids.max()) < teacher.tokens.size
        teacher.decode(written)

    @QUICK
    @given(tree=st.fixed_dictionaries({"data": trees}) | trees, card=st.dictionaries(st.sampled_from(["id"]), trees))
    def test_lists_of_models(self, hostile, tree, card):
        for each in (tree, {"data": [card]}):
            hostile.will(Act(answer(json.dumps(each).encode())))
            try:
                assert all(isinstance(name, str) for name in served_models(client(hostile.url)))
            except ServerError as error:
                str(error).encode()

    @pytest.mark.parametrize("length", [0, -5, "8192", 1.5, True, [1]])
    def test_a_length_that_is_none(self, hostile, length):
        from distill.recipe import Teacher

        name = str(packaged("teacher"))
        hostile.will(Act(answer(json.dumps({"data": [{"id": name, "max_model_len": length}]}).encode())))
        with pytest.raises(ServerError, match=r"max_model_len of .* is .*, not a number of tokens"):
            load_served_teacher(Teacher(model=name, url=hostile.url), M)


@pytest.mark.parametrize("stranger", [999_999, -1, 4])
def test_ids_that_the_local_model_does_not_have(stranger):
    row = {0: math.log(0.5), stranger: math.log(0.25)}
    with pytest.raises(ReplyError, match=rf"token {stranger} at position 0 of 2 is none of the 4 .*another model"):
        TopkLogprobs.from_reply(Reply([0], [row, row]), expected=[0], m=2, spelled=["a", "b", "c", "</s>"])


def test_written_ids_that_the_local_model_does_not_have(hostile):
    teacher = served(hostile.url, "vllm")
    for ids, words in (
        ([5, -1], "token 1 of its transcript is -1, none of the"),
        ([1] * 21, "21 tokens, asked for at"),
    ):
        choice = {"message": {"content": "x"}, "finish_reason": "stop", "token_ids": ids}
        hostile.will(Act(answer(json.dumps({"choices": [choice]}).encode())))
        with pytest.raises(ServerError, match=f"utterance 'clip': .*{words}"):
            teacher.rollout(prompt(teacher), max_new_tokens=20)


def test_lists_kept_before_ids_were_checked_are_asked_for_anew(hostile, tmp_path):
    teacher = served.__wrapped__(hostile.url, "vllm")
    teacher.cache = TopkCache(tmp_path)
    tree, _, tokens = right_answer(teacher, "vllm", 0)
    hostile.will(Act(answer(json.dumps(tree).encode())))
    transcripts = pack([[*tokens, teacher.tokens.end_of_text]], teacher.tokens.end_of_text)
    expected = teacher.topk_logprobs(prompt(teacher), [TEXT], transcripts)
    [entry] = tmp_path.rglob("*.npz")
    kept = dict(np.load(entry))
    for spoil in ({"ids": kept["ids"] + 10**6}, {"ids": kept["ids"][:, :2], "logprobs": kept["logprobs"][:, :2]}):
        np.savez(entry, **(kept | spoil))
        found = teacher.topk_logprobs(prompt(teacher), [TEXT], transcripts)
        assert (found[0] == expected[0]).all()
    assert hostile.requests == 3
