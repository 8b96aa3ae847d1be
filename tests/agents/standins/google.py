"""A stand-in for the Gemini API, as Gemini CLI and others use it: generateContent (streamed or whole), tokens, models.

The turn with the tool call goes to a request that offers a tool for writing files. A request for JSON (which model
fits a prompt, what comes next) gets the smallest value that its schema allows; any other gets a few words.
"""

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from ...egress.messages import Response
from .server import Request, Standin, event_response, json_response
from .tools import call_for, directory_in

_MODELS = ("gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite")
_METHOD = re.compile(r"/v1(?:beta|alpha)?/models/([^/:]+):(\w+)\Z")
_MODEL = re.compile(r"/v1(?:beta|alpha)?/models/([^/:]+)\Z")
_DIRECTORY = re.compile(r"Workspace Directories:\**\s+- (/[^\n<]*)")


class Google(Standin):
    hosts = ("generativelanguage.googleapis.com",)

    async def answer(self, request: Request) -> Response:
        if refused := self._refusal(request):
            return refused
        if request.method == "POST" and (called := _METHOD.match(request.path)):
            return self._call(request, *called.groups())
        if request.method == "GET" and request.path.endswith("/models"):
            return json_response({"models": [_model(name) for name in _MODELS]})
        if request.method == "GET" and (named := _MODEL.match(request.path)):
            return json_response(_model(named[1]))
        return _error(404, "NOT_FOUND", "Requested entity was not found.")

    def _refusal(self, request: Request) -> Response | None:
        key = request.header("x-goog-api-key") or request.query.get("key", "")
        if key == self.key:
            return None
        if key:
            message = "API key not valid. Please pass a valid API key."
            return _error(400, "INVALID_ARGUMENT", message, "API_KEY_INVALID")
        message = (
            "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or"
            " other form of API consumer identity to call this API."
        )
        return _error(403, "PERMISSION_DENIED", message)

    def _call(self, request: Request, model: str, method: str) -> Response:
        said = request.json
        if not isinstance(said, dict) or not said.get("contents"):
            return _error(400, "INVALID_ARGUMENT", "* GenerateContentRequest.contents: contents is not specified")
        if method == "countTokens":
            return json_response({"totalTokens": max(1, len(request.body) // 4)})
        if method not in ("generateContent", "streamGenerateContent"):
            return _error(404, "NOT_FOUND", "Requested entity was not found.")
        parts = list(self._parts(said))
        events = list(_events(model, parts, len(request.body) // 4))
        if method == "streamGenerateContent":
            return event_response([("", event) for event in events])
        whole = {**events[-1], "candidates": [_candidate(parts, "STOP")]}
        return json_response(whole)

    def _parts(self, said: dict[str, Any]) -> Iterator[dict[str, Any]]:
        schema = said.get("generationConfig", {}).get("responseJsonSchema")
        offered = dict(_offered(said))
        if schema is not None:
            yield {"text": json.dumps(_smallest(schema))}
        elif not offered:
            yield {"text": "A short answer"}
        elif _has_result(said["contents"]):
            yield from ({"text": text} for text in (f"I have written {self.task.file}: ", self.task.marker))
        elif call := call_for(self.task, offered, _directory(said)):
            yield {"functionCall": {"id": uuid4().hex[:16], "name": call.name, "args": call.arguments}}
        else:
            yield {"text": "None of these tools writes files"}


def _offered(said: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for tool in said.get("tools", ()):
        for function in tool.get("functionDeclarations", ()):
            yield function["name"], function.get("parametersJsonSchema") or function.get("parameters") or {}


def _has_result(contents: list[dict[str, Any]]) -> bool:
    """Whether a tool was called since the last prompt: its result is in the last message."""
    return any("functionResponse" in part for part in contents[-1].get("parts", ()))


def _directory(said: dict[str, Any]) -> str | None:
    """Where the client works, as it tells the model."""
    told = [said.get("systemInstruction"), said["contents"]]
    found = _DIRECTORY.search(json.dumps(told).replace("\\n", "\n"))
    return found[1].strip() if found else directory_in(told)


def _smallest(schema: dict[str, Any]) -> Any:
    """The smallest value of a schema: every wanted property, and no more."""
    if "enum" in schema:
        return schema["enum"][0]
    match str(schema.get("type", "")).lower():
        case "object":
            known = schema.get("properties", {})
            return {name: _smallest(known[name]) for name in schema.get("required", known) if name in known}
        case "array":
            return []
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return False
    return "short"


def _events(model: str, parts: list[dict[str, Any]], tokens: int) -> Iterator[dict[str, Any]]:
    """One answer for each part; the last one says that it is the last."""
    usage = {"promptTokenCount": max(1, tokens), "candidatesTokenCount": 20, "totalTokenCount": max(1, tokens) + 20}
    common = {"usageMetadata": usage, "modelVersion": model, "responseId": uuid4().hex[:22]}
    for number, part in enumerate(parts, 1):
        yield {"candidates": [_candidate([part], "STOP" if number == len(parts) else None)], **common}


def _candidate(parts: list[dict[str, Any]], finish: str | None) -> dict[str, Any]:
    candidate = {"content": {"parts": parts, "role": "model"}, "index": 0}
    return candidate if finish is None else {**candidate, "finishReason": finish}


def _model(name: str) -> dict[str, object]:
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name.replace("-", " ").title(),
        "inputTokenLimit": 1048576,
        "outputTokenLimit": 65536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }


def _error(status: int, kind: str, message: str, reason: str = "") -> Response:
    error: dict[str, object] = {"code": status, "message": message, "status": kind}
    if reason:
        service = {"service": "generativelanguage.googleapis.com"}
        error["details"] = [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": reason,
                "domain": "googleapis.com",
                "metadata": service,
            },
            {"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": message},
        ]
    return json_response({"error": error}, status)
