"""The stand-ins for Google and GitHub answer like the vendors: in two turns, streamed, to whoever has the key."""

import contextlib
import http.client
import json
import socket
import ssl

import pytest

from ..egress.authority import Authority
from .standins.github import GitHub
from .standins.google import Google
from .standins.server import Task, running

KEY = "the-real-key-of-this-test"
TASK = Task("made.txt", "one 'line'\nand \"another\"\n", "it-is-done")
SCHEMA = {"type": "object", "properties": {"file_path": {}, "content": {}}, "required": ["content", "file_path"]}


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def google(tmp_path, authority):
    with running(Google(tmp_path, authority, key=KEY, task=TASK)) as standin:
        yield standin


@pytest.fixture
def github(tmp_path, authority):
    with running(GitHub(tmp_path, authority, key=KEY, task=TASK)) as standin:
        yield standin


def ask(standin, method, path, body=None, host=None, **headers):
    """One request over HTTP/1.1 to one of the vendor's names; gives the status, the content type and the text."""
    host = host or standin.hosts[0]
    context = ssl.create_default_context(cadata=standin.authority.certificate)
    with contextlib.closing(http.client.HTTPSConnection(host)) as connection:
        plain = socket.create_connection(("127.0.0.1", standin.port), 10)
        connection.sock = context.wrap_socket(plain, server_hostname=host)
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.headers["content-type"], response.read().decode()


def data_of(text):
    """The data of server-sent events that have no names."""
    blocks = text.strip().split("\n\n")
    assert all(block.startswith("data: ") for block in blocks)
    return [block.removeprefix("data: ") for block in blocks]


# --- Google --------------------------------------------------------------------------------------------------------

STREAM = "/v1beta/models/gemini-x:streamGenerateContent?alt=sse"
WHOLE = "/v1beta/models/gemini-x:generateContent"
WHERE = {"role": "user", "parts": [{"text": "- **Workspace Directories:**\n  - /home/me/my work\n- **Other:**"}]}
PROMPT = {"role": "user", "parts": [{"text": "write it"}]}
CALLED = {"role": "model", "parts": [{"functionCall": {"name": "write_file", "args": {}}}]}
RESULT = {"role": "user", "parts": [{"functionResponse": {"name": "write_file", "response": {"output": "ok"}}}]}
TOOLS = [{"functionDeclarations": [{"name": "write_file", "parametersJsonSchema": SCHEMA}]}]


def contents(*said, **more):
    return {"contents": [WHERE, *said], "tools": TOOLS, **more}


def test_google_answers_a_prompt_with_a_call_of_the_tool_that_writes(google):
    status, kind, text = ask(google, "POST", STREAM, contents(PROMPT), x_goog_api_key=KEY)
    assert (status, kind) == (200, "text/event-stream; charset=utf-8")
    (event,) = map(json.loads, data_of(text))
    (candidate,) = event["candidates"]
    (part,) = candidate["content"]["parts"]
    assert part["functionCall"]["name"] == "write_file"
    assert part["functionCall"]["args"] == {"file_path": "/home/me/my work/made.txt", "content": TASK.content}
    assert candidate["finishReason"] == "STOP"
    assert google.requests[0].keys == ("x-goog-api-key",)


def test_google_answers_the_tools_result_with_the_marker_in_several_events(google):
    said = contents(PROMPT, CALLED, RESULT)
    _, _, text = ask(google, "POST", STREAM, said, x_goog_api_key=KEY)
    candidates = [json.loads(data)["candidates"][0] for data in data_of(text)]
    assert len(candidates) > 1
    assert "it-is-done" in "".join(each["content"]["parts"][0]["text"] for each in candidates)
    assert [each.get("finishReason") for each in candidates][-2:] == [None, "STOP"]
    _, _, text = ask(google, "POST", WHOLE, said, x_goog_api_key=KEY)
    parts = json.loads(text)["candidates"][0]["content"]["parts"]
    assert "it-is-done" in "".join(part["text"] for part in parts)


def test_a_second_prompt_to_google_gets_a_call_again(google):
    done = {"role": "model", "parts": [{"text": "done"}]}
    _, _, text = ask(google, "POST", WHOLE, contents(PROMPT, CALLED, RESULT, done, PROMPT), x_goog_api_key=KEY)
    assert "functionCall" in json.loads(text)["candidates"][0]["content"]["parts"][0]


def test_who_wants_json_of_google_gets_what_the_schema_asks_for(google):
    properties = {
        "why": {"type": "STRING"},
        "score": {"type": "INTEGER"},
        "best": {"type": "STRING", "enum": ["flash", "pro"]},
        "more": {"type": "ARRAY"},
        "sure": {"type": "BOOLEAN"},
        "left": {"type": "STRING"},
    }
    schema = {"type": "OBJECT", "properties": properties, "required": ["why", "score", "best", "more", "sure"]}
    said = {"contents": [PROMPT], "generationConfig": {"responseJsonSchema": schema}}
    _, _, text = ask(google, "POST", WHOLE, said, x_goog_api_key=KEY)
    value = json.loads(json.loads(text)["candidates"][0]["content"]["parts"][0]["text"])
    assert value == {"why": "short", "score": 1, "best": "flash", "more": [], "sure": False}


def test_google_refuses_whoever_has_not_the_key(google):
    status, _, text = ask(google, "POST", STREAM, contents(PROMPT), x_goog_api_key="AIza-another")
    error = json.loads(text)["error"]
    assert (status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert error["message"] == "API key not valid. Please pass a valid API key."
    assert error["details"][0]["reason"] == "API_KEY_INVALID"
    status, _, text = ask(google, "POST", STREAM, contents(PROMPT), authorization=f"Bearer {KEY}")
    assert (status, json.loads(text)["error"]["status"]) == (403, "PERMISSION_DENIED")


def test_google_takes_the_key_in_the_query_as_well(google):
    assert ask(google, "GET", f"/v1beta/models?key={KEY}")[0] == 200
    assert google.requests[0].keys == ("?key",)


def test_google_knows_what_clients_ask_besides(google):
    _, _, text = ask(google, "GET", "/v1beta/models", x_goog_api_key=KEY)
    name = json.loads(text)["models"][0]["name"]
    assert ask(google, "GET", f"/v1beta/{name}", x_goog_api_key=KEY)[0] == 200
    _, _, text = ask(google, "POST", f"/v1beta/{name}:countTokens", contents(PROMPT), x_goog_api_key=KEY)
    assert json.loads(text)["totalTokens"] > 0
    assert ask(google, "POST", f"/v1beta/{name}:embedContent", contents(PROMPT), x_goog_api_key=KEY)[0] == 404
    assert ask(google, "GET", "/v1beta/unknown", x_goog_api_key=KEY)[0] == 404
    assert ask(google, "POST", WHOLE, {}, x_goog_api_key=KEY)[0] == 400


# --- GitHub --------------------------------------------------------------------------------------------------------

MODELS = "api.individual.githubcopilot.com"
BEARER = {"authorization": f"Bearer {KEY}"}
CREATE = {"type": "object", "properties": {"path": {}, "file_text": {}}, "required": ["path", "file_text"]}
OFFERED = [{"type": "function", "function": {"name": "create", "parameters": CREATE}}]
SYSTEM = {"role": "system", "content": "You are somewhere.\n* Current working directory: /home/me/my work\n"}
WISH = {"role": "user", "content": "write it"}
WRITTEN = {"role": "tool", "tool_call_id": "call_1", "content": "created"}


def completion(*said, tools=OFFERED, stream=True):
    return {"model": "model-x", "messages": [SYSTEM, *said], "tools": tools, "stream": stream}


def chat(github, body):
    return ask(github, "POST", "/chat/completions", body, host=MODELS, **BEARER)


def test_github_says_whose_token_it_is_and_where_the_models_are(github):
    _, _, text = ask(github, "GET", "/copilot_internal/user", **BEARER)
    user = json.loads(text)
    assert user["login"] == "octocat"
    assert user["endpoints"]["api"] == f"https://{MODELS}"
    assert "token" not in text, "there is nothing to exchange"
    _, _, text = ask(github, "GET", "/models", host=MODELS, **BEARER)
    model = json.loads(text)["data"][0]
    assert model["supported_endpoints"] == ["/chat/completions"]
    assert [(request.host, request.keys) for request in github.requests] == [
        ("api.github.com", ("authorization",)),
        (MODELS, ("authorization",)),
    ]


def test_github_answers_a_prompt_with_a_call_of_the_tool_that_writes(github):
    status, kind, text = chat(github, completion(WISH))
    assert (status, kind) == (200, "text/event-stream; charset=utf-8")
    *chunks, end = data_of(text)
    assert end == "[DONE]"
    choices = [json.loads(chunk)["choices"][0] for chunk in chunks]
    calls = [choice["delta"]["tool_calls"][0] for choice in choices if "tool_calls" in choice["delta"]]
    assert (calls[0]["type"], calls[0]["function"]["name"]) == ("function", "create")
    arguments = json.loads("".join(call["function"]["arguments"] for call in calls))
    assert arguments == {"path": "/home/me/my work/made.txt", "file_text": TASK.content}
    assert len(calls) > 2
    assert [choice["finish_reason"] for choice in choices][-2:] == [None, "tool_calls"]


def test_github_answers_the_tools_result_with_the_marker(github):
    _, _, text = chat(github, completion(WISH, WRITTEN))
    choices = [json.loads(chunk)["choices"][0] for chunk in data_of(text)[:-1]]
    assert "it-is-done" in "".join(choice["delta"].get("content", "") for choice in choices)
    assert choices[-1]["finish_reason"] == "stop"
    _, _, text = chat(github, completion(WISH, WRITTEN, WISH, stream=False))
    assert json.loads(text)["choices"][0]["finish_reason"] == "tool_calls"


def test_a_request_to_github_without_tools_gets_a_few_words(github):
    _, _, text = chat(github, completion(WISH, tools=[], stream=False))
    message = json.loads(text)["choices"][0]["message"]
    assert message["content"]
    assert "it-is-done" not in message["content"]


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"authorization": "Bearer github_pat_another"}, "Bad credentials"),
        ({"authorization": f"Basic {KEY}"}, "Bad credentials"),
        ({}, "Requires authentication"),
    ],
)
@pytest.mark.parametrize(("host", "path"), [("api.github.com", "/copilot_internal/user"), (MODELS, "/models")])
def test_github_refuses_whoever_has_not_the_token(github, host, path, headers, message):
    status, _, text = ask(github, "GET", path, host=host, **headers)
    assert (status, json.loads(text)["message"]) == (401, message)


def test_github_takes_the_token_under_its_older_name_too(github):
    assert ask(github, "GET", "/user", authorization=f"token {KEY}")[0] == 200


def test_each_name_of_github_answers_for_itself(github):
    assert ask(github, "GET", "/models", **BEARER)[0] == 404
    assert ask(github, "GET", "/copilot_internal/user", host=MODELS, **BEARER)[0] == 404
    assert ask(github, "POST", "/chat/completions", {}, host=MODELS, **BEARER)[0] == 400


def test_githubs_tool_server_offers_nothing(github):
    def say(method, **more):
        return ask(github, "POST", "/mcp/readonly", {"jsonrpc": "2.0", "method": method, **more}, host=MODELS, **BEARER)

    _, _, text = say("initialize", id=1, params={"protocolVersion": "2025-11-25"})
    assert json.loads(text)["result"]["protocolVersion"] == "2025-11-25"
    assert say("notifications/initialized")[0] == 202
    _, _, text = say("tools/list", id=2)
    assert json.loads(text)["result"] == {"tools": []}
    _, _, text = say("server/discover", id=3)
    assert json.loads(text)["error"]["code"] == -32601
