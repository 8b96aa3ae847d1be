"""The stand-ins answer like the vendors: whoever has the key, in two turns, streamed as the real clients want it."""

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, RejectConnection, RejectData, TextMessage
from wsproto.events import Request as Handshake

from ..egress.authority import Authority
from .standins.anthropic import Anthropic
from .standins.openai import OpenAI
from .standins.server import Standin, Task, json_response, publish_all, running
from .standins.tools import call_for, directory_in, shell_line

KEY = "the-real-key-of-this-test"
TASK = Task("made.txt", "one 'line'\nand \"another\"\n", "it-is-done")
WRITE = {"name": "Write", "input_schema": {"properties": {"file_path": {}, "content": {}}, "required": ["content"]}}
SHELL = {
    "name": "Bash",
    "input_schema": {"properties": {"command": {}, "description": {}}, "required": ["description"]},
}
CUSTOM = {"type": "custom", "name": "exec", "description": "runs tools.apply_patch(...)"}
SYSTEM = "You are somewhere.\n - Working directory: /home/me/my work\n - Platform: linux"


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def anthropic(tmp_path, authority):
    with running(Anthropic(tmp_path, authority, key=KEY, task=TASK)) as standin:
        yield standin


@pytest.fixture
def openai(tmp_path, authority):
    with running(OpenAI(tmp_path, authority, key=KEY, task=TASK)) as standin:
        yield standin


def dial(standin):
    """As the vendor's host: its name is verified."""
    context = ssl.create_default_context(cadata=standin.authority.certificate)
    connection = socket.create_connection(("127.0.0.1", standin.port), 10)
    return context.wrap_socket(connection, server_hostname=standin.hosts[0])


def ask(standin, method, path, body=None, **headers):
    """One request over HTTP/1.1; gives the status, the headers and the text."""
    with contextlib.closing(http.client.HTTPSConnection(standin.hosts[0])) as connection:
        connection.sock = dial(standin)
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()


def events(text):
    """Server-sent events, each as (name, data)."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((fields["event"], json.loads(fields["data"])))
    return found


# --- the frame -----------------------------------------------------------------------------------------------------


class Echo(Standin):
    hosts = ("api.example.com", "login.example.com")

    async def answer(self, request):
        return json_response({"path": request.path, "query": request.query, "json": request.json})


@pytest.fixture
def echo(tmp_path, authority):
    with running(Echo(tmp_path, authority, key=KEY)) as standin:
        yield standin


def test_a_request_is_kept_as_it_came(echo):
    status, _, text = ask(echo, "POST", "/v1/a%20b?x=1&y=", {"said": True}, X_Own="Value")
    assert (status, json.loads(text)) == (
        200,
        {"path": "/v1/a b", "query": {"x": "1", "y": ""}, "json": {"said": True}},
    )
    (request,) = echo.requests
    assert (request.method, request.host, request.target) == ("POST", "api.example.com", "/v1/a%20b?x=1&y=")
    assert request.header("x-own") == "Value"
    assert request.body == b'{"said": true}'
    assert request.keys == ()


def test_it_is_noticed_where_the_key_came(echo):
    ask(echo, "GET", "/", x_api_key=KEY)
    ask(echo, "GET", "/", authorization=f"Bearer {KEY}")
    ask(echo, "GET", "/", authorization="Basic dXNlcjp0aGUtcmVhbC1rZXktb2YtdGhpcy10ZXN0")
    ask(echo, "GET", f"/?key={KEY}&other=1")
    ask(echo, "GET", "/", x_api_key="another", authorization="Basic not-base64!")
    found = [request.keys for request in echo.requests]
    assert found == [("x-api-key",), ("authorization",), ("authorization",), ("?key",), ()]


def test_a_body_that_is_no_json_is_none(echo):
    ask(echo, "GET", "/")
    assert echo.requests[0].json is None


def test_names_are_led_to_it_by_the_operators_file(echo, anthropic, tmp_path):
    published = json.loads(echo.publish(tmp_path / "config").read_text())
    here = f"127.0.0.1:{echo.port}"
    assert published["resolve"] == {"api.example.com:443": here, "login.example.com:443": here}
    together = json.loads(publish_all(tmp_path / "config", echo, anthropic).read_text())
    assert set(together["resolve"]) == {"api.example.com:443", "login.example.com:443", "api.anthropic.com:443"}
    assert Path(together["authorities"]).read_text() == echo.authority.certificate


def test_a_vendor_without_websockets_refuses_them(echo):
    with dial(echo) as connection:
        client = WSConnection(ConnectionType.CLIENT)
        connection.sendall(client.send(Handshake(host="api.example.com", target="/v1/responses")))
        client.receive_data(connection.recv(65536))
        assert any(isinstance(event, RejectConnection) and event.status_code == 404 for event in client.events())


def test_it_is_gone_when_the_block_ends(tmp_path, authority):
    with running(Echo(tmp_path, authority, key=KEY)) as standin:
        port = standin.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 10).close()


# --- which tool ----------------------------------------------------------------------------------------------------


def test_a_tool_for_files_is_preferred_to_a_shell():
    offered = {"Bash": {"properties": {"command": {}}}, "Write": WRITE["input_schema"]}
    call = call_for(TASK, offered, "/work")
    assert (call.name, call.arguments) == ("Write", {"file_path": "/work/made.txt", "content": TASK.content})
    assert call_for(TASK, offered, None).name == "Bash"


def test_a_shell_writes_the_content_as_it_is(tmp_path):
    call = call_for(TASK, {"Bash": SHELL["input_schema"]}, None)
    assert set(call.arguments) == {"command", "description"}
    assert call.arguments["command"] == shell_line(TASK)
    subprocess.run(["sh", "-c", call.arguments["command"]], cwd=tmp_path, check=True)
    assert (tmp_path / "made.txt").read_text() == TASK.content


def test_a_shell_that_takes_words_gets_words():
    call = call_for(TASK, {"shell": {"properties": {"command": {"type": "array"}}}}, None)
    assert call.arguments["command"] == ["sh", "-c", shell_line(TASK)]


def test_no_tool_is_called_that_is_not_known():
    assert call_for(TASK, {"Read": {"properties": {"file_path": {}}}}, "/work") is None
    assert call_for(TASK, {"Write": {"properties": {"where": {}}}}, "/work") is None


def test_a_client_says_where_it_works():
    assert directory_in(SYSTEM) == "/home/me/my work"
    assert directory_in(None, [{"text": "<cwd>/srv/x</cwd>"}]) == "/srv/x"
    assert directory_in("nowhere") is None


# --- Anthropic -----------------------------------------------------------------------------------------------------


def messages(*said, tools=(WRITE, SHELL), stream=True):
    return {"model": "claude-x", "system": SYSTEM, "messages": list(said), "tools": list(tools), "stream": stream}


PROMPT = {"role": "user", "content": "write it"}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "written"}]}


def test_a_prompt_is_answered_with_a_call_of_the_tool_that_writes(anthropic):
    status, headers, text = ask(anthropic, "POST", "/v1/messages?beta=true", messages(PROMPT), x_api_key=KEY)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    streamed = events(text)
    names = [name for name, _ in streamed]
    assert all(name == data["type"] for name, data in streamed)
    assert names[:2] == ["message_start", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    block = next(data["content_block"] for name, data in streamed if name == "content_block_start")
    assert (block["type"], block["name"], block["input"]) == ("tool_use", "Write", {})
    parts = [data["delta"]["partial_json"] for name, data in streamed if name == "content_block_delta"]
    assert len(parts) > 2
    assert json.loads("".join(parts)) == {"file_path": "/home/me/my work/made.txt", "content": TASK.content}
    assert streamed[-2][1]["delta"]["stop_reason"] == "tool_use"


def test_the_tools_result_is_answered_with_the_marker(anthropic):
    _, _, text = ask(anthropic, "POST", "/v1/messages", messages(PROMPT, RESULT), x_api_key=KEY)
    streamed = events(text)
    parts = [data["delta"]["text"] for name, data in streamed if name == "content_block_delta"]
    assert "it-is-done" in "".join(parts)
    assert streamed[-2][1]["delta"]["stop_reason"] == "end_turn"


def test_a_second_prompt_in_the_same_conversation_gets_a_call_again(anthropic):
    said = messages(PROMPT, RESULT, {"role": "assistant", "content": "done"}, PROMPT, stream=False)
    _, _, text = ask(anthropic, "POST", "/v1/messages", said, x_api_key=KEY)
    assert json.loads(text)["stop_reason"] == "tool_use"


def test_a_request_without_tools_gets_a_few_words(anthropic):
    _, _, text = ask(anthropic, "POST", "/v1/messages", messages(PROMPT, tools=(), stream=False), x_api_key=KEY)
    (block,) = json.loads(text)["content"]
    assert block["type"] == "text"
    assert "it-is-done" not in block["text"]


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"x_api_key": "sk-ant-another"}, "invalid x-api-key"),
        ({"authorization": f"Bearer {KEY}"}, "Invalid bearer token"),
        ({}, "x-api-key header is required"),
    ],
)
def test_anthropic_refuses_whoever_has_not_the_key(anthropic, headers, message):
    status, answered, text = ask(anthropic, "POST", "/v1/messages", messages(PROMPT), **headers)
    error = json.loads(text)
    assert status == 401
    assert error["error"] == {"type": "authentication_error", "message": message}
    assert answered["request-id"] == error["request_id"]
    assert answered["x-should-retry"] == "false"


def test_a_rotated_key_counts_at_once(anthropic):
    anthropic.key = "the-next-key"
    assert ask(anthropic, "GET", "/v1/models", x_api_key=KEY)[0] == 401
    assert ask(anthropic, "GET", "/v1/models", x_api_key="the-next-key")[0] == 200


def test_anthropic_knows_what_clients_ask_besides(anthropic):
    _, _, text = ask(anthropic, "GET", "/v1/models", x_api_key=KEY)
    model = json.loads(text)["data"][0]
    assert ask(anthropic, "GET", f"/v1/models/{model['id']}", x_api_key=KEY)[0] == 200
    _, _, text = ask(anthropic, "POST", "/v1/messages/count_tokens", messages(PROMPT), x_api_key=KEY)
    assert json.loads(text)["input_tokens"] > 0
    assert ask(anthropic, "GET", "/api/hello")[0] == 200
    assert ask(anthropic, "GET", "/api/unknown")[0] == 404
    assert ask(anthropic, "POST", "/v1/messages", {}, x_api_key=KEY)[0] == 400


# --- OpenAI --------------------------------------------------------------------------------------------------------

INPUT = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "<cwd>/srv</cwd> write it"}]}
OUTPUT = {"type": "custom_tool_call_output", "call_id": "call_1", "output": "written"}
FUNCTION = {"type": "function", "name": "shell", "parameters": {"properties": {"command": {"type": "array"}}}}
BEARER = {"authorization": f"Bearer {KEY}"}


def responses(*items, tools=(CUSTOM, FUNCTION), **more):
    return {"model": "gpt-x", "input": list(items), "tools": list(tools), **more}


def item_of(streamed):
    """The one item, as the last event of it has it; what was streamed before adds up to it."""
    (done,) = [data["item"] for _, data in streamed if data["type"] == "response.output_item.done"]
    assert streamed[-1][1]["response"]["output"] == [done]
    assert [data["sequence_number"] for _, data in streamed] == list(range(len(streamed)))
    deltas = "".join(data["delta"] for _, data in streamed if data["type"].endswith(".delta"))
    assert deltas == (done.get("input") or done.get("arguments") or done["content"][0]["text"])
    return done


def test_a_prompt_is_answered_with_a_script_that_patches(openai):
    said = responses(INPUT, stream=True)
    status, headers, text = ask(openai, "POST", "/v1/responses", said, **BEARER)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    streamed = events(text)
    assert [name for name, _ in streamed][0 :: len(streamed) - 1] == ["response.created", "response.completed"]
    item = item_of(streamed)
    assert (item["type"], item["name"]) == ("custom_tool_call", "exec")
    assert "*** Add File: made.txt\\n+one 'line'\\n+and \\\"another\\\"\\n*** End Patch" in item["input"]


def test_a_tool_in_a_namespace_is_called_by_it(openai):
    later = {"type": "additional_tools", "tools": [{"type": "namespace", "name": "functions", "tools": [FUNCTION]}]}
    _, _, text = ask(openai, "POST", "/v1/responses", responses(later, INPUT, tools=(), stream=True), **BEARER)
    item = item_of(events(text))
    assert (item["type"], item["namespace"], item["name"]) == ("function_call", "functions", "shell")
    assert json.loads(item["arguments"]) == {"command": ["sh", "-c", shell_line(TASK)]}


def test_a_tools_output_is_answered_with_the_marker(openai):
    _, _, text = ask(openai, "POST", "/v1/responses", responses(INPUT, OUTPUT, stream=True), **BEARER)
    assert "it-is-done" in item_of(events(text))["content"][0]["text"]
    _, _, text = ask(openai, "POST", "/v1/responses", responses(INPUT, OUTPUT, INPUT), **BEARER)
    assert json.loads(text)["output"][0]["type"] == "custom_tool_call"


@pytest.mark.parametrize(
    ("authorization", "code", "words"),
    [
        ("Bearer sk-another-key-of-somebody", "invalid_api_key", "Incorrect API key provided: sk-anoth*****"),
        ("Basic abc", None, "Missing bearer"),
        ("", None, "Missing bearer"),
    ],
)
def test_openai_refuses_whoever_has_not_the_key(openai, authorization, code, words):
    status, _, text = ask(openai, "POST", "/v1/responses", responses(INPUT), authorization=authorization)
    error = json.loads(text)["error"]
    assert (status, error["type"], error["code"]) == (401, "invalid_request_error", code)
    assert error["message"].startswith(words)
    assert "-key-of-" not in error["message"]


def test_openai_knows_what_clients_ask_besides(openai):
    _, _, text = ask(openai, "GET", "/v1/models", **BEARER)
    assert ask(openai, "GET", f"/v1/models/{json.loads(text)['data'][0]['id']}", **BEARER)[0] == 200
    assert ask(openai, "GET", "/v1/unknown", **BEARER)[0] == 404
    assert ask(openai, "POST", "/v1/responses", {}, **BEARER)[0] == 400


class Conversation:
    """A client of the WebSocket."""

    def __init__(self, connection, authorization):
        self._socket = connection
        self._client = WSConnection(ConnectionType.CLIENT)
        self._taken = self._events()
        asked = Handshake("api.openai.com", "/v1/responses", extra_headers=[(b"Authorization", authorization.encode())])
        connection.sendall(self._client.send(asked))
        self.answer = next(self._taken)

    def _events(self):
        while data := self._socket.recv(65536):
            self._client.receive_data(data)
            yield from self._client.events()

    def next(self):
        return next(self._taken)

    def say(self, **said):
        """One `response.create`; gives the events of the response."""
        text = json.dumps({"type": "response.create", **said})
        self._socket.sendall(self._client.send(TextMessage(text[:10], message_finished=False)))
        self._socket.sendall(self._client.send(TextMessage(text[10:])))
        streamed, part = [], ""
        while not streamed or streamed[-1][0] != "response.completed":
            event = next(self._taken)
            part += event.data
            if event.message_finished:
                data, part = json.loads(part), ""
                streamed.append((data["type"], data))
        return streamed

    def close(self):
        self._socket.sendall(self._client.send(CloseConnection(1000)))
        return next(self._taken)


def test_a_conversation_over_a_websocket_has_the_same_two_turns(openai):
    with dial(openai) as connection:
        client = Conversation(connection, f"Bearer {KEY}")
        assert isinstance(client.answer, AcceptConnection)
        warm = client.say(**responses(generate=False))
        assert warm[-1][1]["response"]["output"] == []
        first = item_of(client.say(**responses(INPUT, tools=(), previous_response_id="resp_1")))
        assert (first["type"], first["name"]) == ("custom_tool_call", "exec")
        second = item_of(client.say(input=[OUTPUT], previous_response_id="resp_2"))
        assert "it-is-done" in second["content"][0]["text"]
        assert isinstance(client.close(), CloseConnection)
    handshake, *said = openai.requests
    assert (handshake.method, handshake.keys) == ("GET", ("authorization",))
    assert [request.method for request in said] == ["MESSAGE"] * 3
    assert said[1].json["input"] == [INPUT]


def test_a_websocket_is_refused_with_the_same_words(openai):
    with dial(openai) as connection:
        client = Conversation(connection, "Bearer sk-another-key-of-somebody")
        assert isinstance(client.answer, RejectConnection)
        assert client.answer.status_code == 401
        body = client.next()
        assert isinstance(body, RejectData)
        assert json.loads(bytes(body.data))["error"]["code"] == "invalid_api_key"
