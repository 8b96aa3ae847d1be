"""A stand-in for OpenAI's API, as Codex and others use it: Responses (events, a WebSocket, or whole) and models.

Over a WebSocket a client may send what is new alone and refer to the response before, so that the tools it offered are
remembered as long as the connection lasts; and it may send a first request that nothing is to be generated for.
"""

import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

from anyio.abc import ByteStream
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Ping, TextMessage

from ...egress.messages import Incoming, Response
from .server import NOT_FOUND, Request, Standin, event_response, json_response
from .tools import call_for, directory_in, patch

_MODELS = ("gpt-6.1-sol", "gpt-6-astra", "gpt-6-sol", "gpt-6-luna")
_RESULTS = ("function_call_output", "custom_tool_call_output", "local_shell_call_output")
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3

Object = dict[str, Any]


class OpenAI(Standin):
    hosts = ("api.openai.com",)

    async def answer(self, request: Request) -> Response:
        if problem := self._problem(request):
            return json_response(problem, 401, ("x-request-id", f"req_{uuid4().hex}"))
        match request.method, request.path.strip("/").split("/"):
            case "POST", ["v1", "responses"]:
                return self._responses(request)
            case "GET", ["v1", "models"]:
                return json_response({"object": "list", "data": [_model(name) for name in _MODELS]})
            case "GET", ["v1", "models", name] if name in _MODELS:
                return json_response(_model(name))
        return json_response(_error(f"Invalid URL ({request.method} {request.path})", None), 404)

    async def upgrade(self, request: Request, incoming: Incoming, stream: ByteStream) -> None:
        if request.path != "/v1/responses":
            await stream.send(NOT_FOUND)
        elif problem := self._problem(request):
            body = json.dumps(problem)
            head = "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nConnection: close\r\n"
            await stream.send(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        else:
            await _switch(request, stream)
            await self._converse(request, Connection(ConnectionType.SERVER), stream)

    async def _converse(self, request: Request, connection: Connection, stream: ByteStream) -> None:
        """Responses over a WebSocket, until the client closes."""
        offered: list[Object] = []
        async for text in _messages(connection, stream):
            said = self.noted(replace(request, method="MESSAGE", body=text.encode())).json
            offered = [*_tools(said)] or offered
            for event in self._events(said, offered):
                await stream.send(connection.send(TextMessage(json.dumps(event))))

    def _problem(self, request: Request) -> Object | None:
        """What is wrong with the key, as the vendor says it."""
        scheme, _, key = request.header("authorization").partition(" ")
        if scheme.lower() != "bearer" or not key:
            return _error("Missing bearer or basic authentication in header", None)
        if key == self.key:
            return None
        shown = f"{key[:8]}{'*' * (len(key) - 12)}{key[-4:]}" if len(key) > 12 else "*" * len(key)
        where = "You can find your API key at https://platform.openai.com/account/api-keys."
        return _error(f"Incorrect API key provided: {shown}. {where}", "invalid_api_key")

    def _responses(self, request: Request) -> Response:
        said = request.json
        if not isinstance(said, dict) or "input" not in said:
            return json_response(_error("Missing required parameter: 'input'.", "missing_required_parameter"), 400)
        events = [*self._events(said, [*_tools(said)])]
        if said.get("stream"):
            return event_response((event["type"], event) for event in events)
        return json_response(events[-1]["response"])

    def _events(self, said: Object, offered: list[Object]) -> Iterator[Object]:
        output = [] if said.get("generate") is False else [self._item(said, offered)]
        for number, event in enumerate(_sequence(_response(said), output)):
            yield {**event, "sequence_number": number}

    def _item(self, said: Object, offered: list[Object]) -> Object:
        if not offered:
            return _message("A short answer")
        if _has_result(said["input"]):
            return _message(f"I have written {self.task.file}: {self.task.marker}")
        return self._call(said, offered) or _message("None of these tools writes files")

    def _call(self, said: Object, offered: list[Object]) -> Object | None:
        """A call of the tool for scripts or patches, if there is one, else of one with JSON arguments."""
        for tool in (each for each in offered if each["type"] == "custom"):
            if tool["name"] == "exec" and "apply_patch" in tool.get("description", ""):
                return _custom_call(tool, f"text(await tools.apply_patch({json.dumps(patch(self.task))}))")
            if tool["name"] == "apply_patch":
                return _custom_call(tool, patch(self.task))
        functions = {tool["name"]: tool for tool in offered if tool["type"] == "function"}
        schemas = {name: tool.get("parameters") or {} for name, tool in functions.items()}
        call = call_for(self.task, schemas, directory_in(said.get("instructions"), said["input"]))
        return _function_call(functions[call.name], call.arguments) if call else None


async def _switch(request: Request, stream: ByteStream) -> None:
    digest = hashlib.sha1((request.header("sec-websocket-key") + _GUID).encode()).digest()
    accept = base64.b64encode(digest).decode()
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    await stream.send(f"{head}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())


async def _messages(connection: Connection, stream: ByteStream) -> AsyncIterator[str]:
    text = ""
    async for data in stream:
        connection.receive_data(data)
        for event in connection.events():
            if isinstance(event, TextMessage):
                text += event.data
                if event.message_finished:
                    yield text
                    text = ""
            elif isinstance(event, (Ping, CloseConnection)):
                await stream.send(connection.send(event.response()))
                if isinstance(event, CloseConnection):
                    return


def _tools(said: Object) -> Iterator[Object]:
    """What is offered, those in namespaces as well: each with the `namespace` that it is in."""
    items = said["input"] if isinstance(said["input"], list) else []
    later = (tool for item in items if item.get("type") == "additional_tools" for tool in item.get("tools", ()))
    for tool in (*said.get("tools", ()), *later):
        if tool["type"] == "namespace":
            yield from ({**each, "namespace": tool["name"]} for each in tool["tools"])
        else:
            yield tool


def _has_result(items: str | list[Object]) -> bool:
    """Whether a tool was called since the last prompt."""
    if isinstance(items, str):
        return False
    relevant = [item for item in items if item.get("type") in _RESULTS or item.get("role") == "user"]
    return bool(relevant) and relevant[-1].get("type") in _RESULTS


# --- objects of the API --------------------------------------------------------------------------------------------


def _response(said: Object) -> Object:
    return {
        "id": f"resp_{uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": said.get("model", _MODELS[0]),
        "output": [],
        "parallel_tool_calls": said.get("parallel_tool_calls", True),
        "previous_response_id": said.get("previous_response_id"),
        "store": said.get("store", True),
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
        "metadata": {},
    }


def _message(text: str) -> Object:
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    return {
        "type": "message",
        "id": f"msg_{uuid4().hex}",
        "role": "assistant",
        "status": "completed",
        "content": content,
    }


def _custom_call(tool: Object, text: str) -> Object:
    call = {"type": "custom_tool_call", "id": f"ctc_{uuid4().hex}", "call_id": f"call_{uuid4().hex[:24]}"}
    return {**call, **_named(tool), "status": "completed", "input": text}


def _function_call(tool: Object, arguments: Object) -> Object:
    call = {"type": "function_call", "id": f"fc_{uuid4().hex}", "call_id": f"call_{uuid4().hex[:24]}"}
    return {**call, **_named(tool), "status": "completed", "arguments": json.dumps(arguments)}


def _named(tool: Object) -> Object:
    return {key: tool[key] for key in ("name", "namespace") if key in tool}


def _sequence(response: Object, output: list[Object]) -> Iterator[Object]:
    """The events of one response."""
    yield {"type": "response.created", "response": response}
    yield {"type": "response.in_progress", "response": response}
    for index, item in enumerate(output):
        yield from _item_events(item, {"output_index": index, "item_id": item["id"]})
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 120,
    }
    yield {
        "type": "response.completed",
        "response": {**response, "status": "completed", "output": output, "usage": usage},
    }


def _item_events(item: Object, place: Object) -> Iterator[Object]:
    field, kind = {
        "message": ("content", "response.output_text"),
        "custom_tool_call": ("input", "response.custom_tool_call_input"),
        "function_call": ("arguments", "response.function_call_arguments"),
    }[item["type"]]
    index = {"output_index": place["output_index"]}
    empty: object = [] if field == "content" else ""
    yield {"type": "response.output_item.added", **index, "item": {**item, "status": "in_progress", field: empty}}
    if field == "content":
        (part,) = item["content"]
        inner = {**place, "content_index": 0}
        yield {"type": "response.content_part.added", **inner, "part": {**part, "text": ""}}
        yield from ({"type": f"{kind}.delta", **inner, "delta": piece} for piece in _parts(part["text"]))
        yield {"type": f"{kind}.done", **inner, "text": part["text"]}
        yield {"type": "response.content_part.done", **inner, "part": part}
    else:
        yield from ({"type": f"{kind}.delta", **place, "delta": piece} for piece in _parts(item[field]))
        yield {"type": f"{kind}.done", **place, field: item[field]}
    yield {"type": "response.output_item.done", **index, "item": item}


def _parts(text: str, size: int = 12) -> Iterable[str]:
    return (text[at : at + size] for at in range(0, len(text), size))


def _model(name: str) -> Object:
    return {"id": name, "object": "model", "created": 1764000000, "owned_by": "openai"}


def _error(message: str, code: str | None) -> Object:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
