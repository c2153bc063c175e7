"""A password or key in a server's URL is sent and never shown; a query stays behind the paths; statuses in words."""

import json
import socket
import threading

import pytest

from distill.recipe import Recipe
from distill.teacher import ServerError, json_client
from distill.teacher.json_client import JsonClient
from distill.training import tracking
from tests.distill.teacher.hostile_server import Act, HostileServer
from tests.distill.teacher.hostile_server import http as answer
from tests.distill.test_cli import run

GOOD = Act(answer(b"{}"))


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(json_client, "FIRST_WAIT_SECONDS", 0.01)
    listening = HostileServer()
    yield listening
    listening.stop()


@pytest.fixture
def heard():
    """A server of one request, and the lines that it got."""
    listening, lines = socket.create_server(("127.0.0.1", 0)), []

    def listen():
        connection, _ = listening.accept()
        with connection:
            lines.extend(connection.recv(65536).decode().split("\r\n"))
            connection.sendall(answer(b"{}"))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    yield f"127.0.0.1:{listening.getsockname()[1]}", lines, thread
    listening.close()


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
@pytest.mark.parametrize("query", ["", "?token=abc", "?token=a/b&x=1#part"])
def test_what_is_sent(heard, end, query):
    address, lines, thread = heard
    client = JsonClient(f"http://u:secretpw@{address}/base{end}{query}", retries=0)
    assert client.get("/v1/models") == {}
    thread.join(10)
    assert lines[0] == f"GET /base/v1/models{query.partition('#')[0]} HTTP/1.1"
    assert any(line.lower() == "authorization: basic dTpzZWNyZXRwdw==".lower() for line in lines)
    assert client.url == f"http://{address}/base"


@pytest.mark.parametrize(
    "act",
    [
        Act(b""),
        Act(answer(b"no", "500 Oh")),
        Act(answer(b"no", "404 Not Found")),
        Act(answer(b"[]")),
        Act(answer(b"<html>")),
        Act(answer(b"", "302 Found", (("Location", "http://u:secretpw@there/login?token=abc"),))),
    ],
)
def test_errors_do_not_show_it(server, act):
    server.will(act)
    client = JsonClient(server.url.replace("//", "//u:secretpw@") + "/v1?token=abc", retries=1)
    with pytest.raises(ServerError) as refused:
        client.get("/v1/models")
    said = str(refused.value)
    assert f"GET {server.url}/v1/models" in said
    assert not {"secretpw", "abc"} & set(said.replace("=", " ").replace("@", " ").replace(":", " ").split())
    assert "secretpw" not in said


@pytest.mark.parametrize(
    "url",
    ["http://u:secretpw@h:99999", "ftp://u:secretpw@h", "http://u:secret/pw@h", "u:secretpw@h", "http://u:secretpw@"],
)
def test_urls_that_are_none_do_not_show_it(url):
    with pytest.raises(ServerError, match="is not the URL of a server") as refused:
        JsonClient(url)
    assert "secret" not in str(refused.value)


def test_commands_do_not_show_it(server, capsys):
    server.will(Act(answer(b"no", "401 Unauthorized")))
    url = server.url.replace("//", "//u:secretpw@") + "?token=abc"
    models = ("--student", "demo:student", "--teacher", "demo:teacher", "--teacher-url", url)
    code, out, err = run(
        "probe", *models, "--manifest", "demo:corpus/probe.jsonl", "--max-utterances", "2", capsys=capsys
    )
    assert code == 1
    assert server.url in err
    assert "secretpw" not in out + err


def test_trackers_do_not_get_it(mini, tmp_path, monkeypatch):
    url = "http://u:secretpw@h:8000/v1?token=abc"
    divergence = {"type": "divergence", "support": "teacher"}
    mini["stages"][2]["objective"] = divergence
    mini["teacher"]["url"] = url
    told = []

    class Tracker:
        def __init__(self, *_, **__): ...
        def start(self): ...
        def log(self, values, step):
            told.append(json.dumps(values))

    monkeypatch.setattr(tracking, "TensorBoardTracker", Tracker)
    recipe = Recipe.model_validate(mini)
    tracking._tracker("tensorboard", recipe, tmp_path, "id", 0, True)
    assert "http://h:8000/v1?" in told[0]
    assert "secretpw" not in told[0]
    assert "abc" not in told[0]
    assert recipe.teacher is not None
    assert recipe.teacher.url == url


@pytest.mark.parametrize(
    "tree",
    [
        {"error": {"message": "busy", "code": "503"}},
        {"error": {"message": "busy", "code": 503}},
        {"error": {"message": "busy", "status": 503}},
        {"error": {"message": "slow down", "code": " 429 "}},
        {"object": "error", "message": "busy", "code": "503"},
        {"error": "busy", "status_code": "500"},
    ],
)
def test_an_error_in_a_good_answer_that_names_a_passing_status_is_asked_again(server, tree):
    server.will(Act(answer(json.dumps(tree).encode())), GOOD)
    client = JsonClient(server.url, retries=2)
    assert client.get("/v1/models") == {}
    assert (server.requests, client.n_retried) == (2, 1)


@pytest.mark.parametrize("code", ["400", "context_length_exceeded", 404, None, "٥٠٣", True])
def test_other_errors_are_not(server, code):
    server.will(Act(answer(json.dumps({"error": {"message": "no", "code": code}}).encode())), GOOD)
    with pytest.raises(ServerError):
        JsonClient(server.url, retries=2).get("/v1/models")
    assert server.requests == 1
