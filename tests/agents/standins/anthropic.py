"""A stand-in for Anthropic's API, as Claude Code and others use it: Messages (streamed or whole), tokens, models.

The turn with the tool call goes to a request that offers a tool for writing files. Requests without tools (titles,
summaries, checks of the key) get a few words.
"""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from ...egress.messages import Response
from .server import Request, Standin, event_response, json_response
from .tools import call_for, directory_in

_MODELS = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5")


class Anthropic(Standin):
    hosts = ("api.anthropic.com",)

    async def answer(self, request: Request) -> Response:
        if request.path.startswith("/v1/") and (refused := self._refusal(request)):
            return refused
        match request.method, request.path.strip("/").split("/"):
            case "POST", ["v1", "messages"]:
                return self._message(request)
            case "POST", ["v1", "messages", "count_tokens"]:
                return _ok({"input_tokens": max(1, len(request.body) // 4)})
            case "GET", ["api", "hello"]:  # is there a way to the vendor? Asked before a login
                return _ok({"message": "hello"})
            case "GET", ["v1", "models"]:
                return _ok({"data": [_model(name) for name in _MODELS], "has_more": False})
            case "GET", ["v1", "models", name]:
                return _ok(_model(name))
        return _error(404, "not_found_error", "Not Found")

    def _refusal(self, request: Request) -> Response | None:
        key = request.header("x-api-key")
        if key == self.key:
            return None
        if key:
            return _error(401, "authentication_error", "invalid x-api-key")
        if request.header("authorization"):
            return _error(401, "authentication_error", "Invalid bearer token")
        return _error(401, "authentication_error", "x-api-key header is required")

    def _message(self, request: Request) -> Response:
        said = request.json
        if not isinstance(said, dict) or not said.get("messages"):
            return _error(400, "invalid_request_error", "messages: Field required")
        block = self._block(said)
        message = {
            "id": f"msg_{uuid4().hex[:24]}",
            "type": "message",
            "role": "assistant",
            "model": said.get("model", _MODELS[0]),
            "content": [block],
            "stop_reason": "tool_use" if block["type"] == "tool_use" else "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": max(1, len(request.body) // 4), "output_tokens": 20},
        }
        return event_response(_events(message), _request_id()) if said.get("stream") else _ok(message)

    def _block(self, said: dict[str, Any]) -> dict[str, Any]:
        offered = {tool["name"]: tool.get("input_schema", {}) for tool in said.get("tools", ())}
        if not offered:
            return {"type": "text", "text": "A short answer"}
        if _has_result(said["messages"]):
            return {"type": "text", "text": f"I have written {self.task.file}: {self.task.marker}"}
        call = call_for(self.task, offered, directory_in(said.get("system"), said["messages"]))
        if call is None:
            return {"type": "text", "text": "None of these tools writes files"}
        return {"type": "tool_use", "id": f"toolu_{uuid4().hex[:24]}", "name": call.name, "input": call.arguments}


def _has_result(messages: list[dict[str, Any]]) -> bool:
    """Whether a tool was called since the last prompt: results come in a message of the user's."""
    content = messages[-1]["content"]
    return isinstance(content, list) and any(block.get("type") == "tool_result" for block in content)


def _events(message: dict[str, Any]) -> Iterator[tuple[str, object]]:
    (block,) = message["content"]
    start = {**message, "content": [], "stop_reason": None, "usage": {**message["usage"], "output_tokens": 1}}
    yield "message_start", {"type": "message_start", "message": start}
    if block["type"] == "text":
        empty, deltas = {**block, "text": ""}, [{"type": "text_delta", "text": part} for part in _parts(block["text"])]
    else:
        text = json.dumps(block["input"])
        empty = {**block, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in ("", *_parts(text))]
    yield "content_block_start", {"type": "content_block_start", "index": 0, "content_block": empty}
    yield "ping", {"type": "ping"}
    for delta in deltas:
        yield "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}
    yield "content_block_stop", {"type": "content_block_stop", "index": 0}
    stop = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": message["usage"]["output_tokens"]}
    yield "message_delta", {"type": "message_delta", "delta": stop, "usage": usage}
    yield "message_stop", {"type": "message_stop"}


def _parts(text: str, size: int = 12) -> Iterator[str]:
    yield from (text[at : at + size] for at in range(0, len(text), size))


def _model(name: str) -> dict[str, object]:
    title = name.replace("-", " ").title()
    return {"type": "model", "id": name, "display_name": title, "created_at": "2025-09-29T00:00:00Z"}


def _request_id() -> tuple[str, str]:
    return "request-id", f"req_{uuid4().hex[:24]}"


def _ok(value: object) -> Response:
    return json_response(value, 200, _request_id())


def _error(status: int, kind: str, message: str) -> Response:
    named = _request_id()
    error = {"type": kind, "message": message}
    once = ("x-should-retry", "false")
    return json_response({"type": "error", "error": error, "request_id": named[1]}, status, named, once)
