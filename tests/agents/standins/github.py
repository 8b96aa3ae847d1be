"""A stand-in for GitHub as Copilot CLI uses it: who the token is (api.github.com), then the models' own API.

The token is not exchanged: the same one goes as a bearer to both names, and the answer to `/copilot_internal/user`
says which name the models have. The turn with the tool call goes to a request that offers a tool for writing files.
"""

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from ...egress.messages import Response
from .server import Request, Standin, event_response, json_response
from .tools import call_for, directory_in

_API = "api.github.com"
_MODELS_API = "api.individual.githubcopilot.com"
_MODELS = (("claude-sonnet-4.6", "Claude Sonnet 4.6", "Anthropic"), ("gpt-5-mini", "GPT-5 mini", "Azure OpenAI"))
_DOCS = "https://docs.github.com/rest"


class GitHub(Standin):
    hosts = (_API, _MODELS_API)

    async def answer(self, request: Request) -> Response:
        if refused := self._refusal(request):
            return refused
        host = request.host.partition(":")[0]
        match host, request.method, request.path.strip("/").split("/"):
            case "api.github.com", "GET", ["copilot_internal", "user"]:
                return json_response(_user())
            case "api.github.com", "GET", ["user"]:
                return json_response({"login": "octocat", "id": 583231, "type": "User"})
            case "api.individual.githubcopilot.com", "GET", ["models"]:
                return json_response({"object": "list", "data": [_model(*each) for each in _MODELS]})
            case "api.individual.githubcopilot.com", "GET", ["agents", "swe", "internal", "memory", "v0", "enabled"]:
                return json_response({"enabled": False})
            case "api.individual.githubcopilot.com", "POST", ["mcp", *_]:
                return _tool_server(request)
            case "api.individual.githubcopilot.com", "POST", ["chat", "completions"]:
                return self._completion(request)
        return _error(404, "Not Found")

    def _refusal(self, request: Request) -> Response | None:
        scheme, _, token = request.header("authorization").partition(" ")
        if scheme.lower() in ("bearer", "token") and token == self.key:
            return None
        return _error(401, "Bad credentials" if token else "Requires authentication")

    def _completion(self, request: Request) -> Response:
        said = request.json
        if not isinstance(said, dict) or not said.get("messages"):
            return json_response({"error": {"message": "messages is required", "code": "invalid_request_body"}}, 400)
        message = self._message(said)
        common = {"id": f"chatcmpl-{uuid4().hex[:24]}", "created": int(time.time()), "model": said.get("model", "")}
        finish = "tool_calls" if "tool_calls" in message else "stop"
        tokens = max(1, len(request.body) // 4)
        usage = {"prompt_tokens": tokens, "completion_tokens": 20, "total_tokens": tokens + 20}
        if said.get("stream"):
            return event_response([*_chunks(message, finish, common, usage), ("", "[DONE]")])
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return json_response({**common, "object": "chat.completion", "choices": [choice], "usage": usage})

    def _message(self, said: dict[str, Any]) -> dict[str, Any]:
        functions = (tool["function"] for tool in said.get("tools") or () if "function" in tool)
        offered = {function["name"]: function.get("parameters", {}) for function in functions}
        if not offered:
            return _says("A short answer")
        if said["messages"][-1]["role"] == "tool":
            return _says(f"I have written {self.task.file}: {self.task.marker}")
        call = call_for(self.task, offered, directory_in(said["messages"]))
        if call is None:
            return _says("None of these tools writes files")
        function = {"name": call.name, "arguments": json.dumps(call.arguments)}
        called = {"id": f"call_{uuid4().hex[:24]}", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [called]}


def _says(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def _chunks(
    message: dict[str, Any], finish: str, common: dict[str, Any], usage: dict[str, int]
) -> Iterator[tuple[str, object]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if message["content"] is not None:
        deltas += ({"content": part} for part in _parts(message["content"]))
    for called in message.get("tool_calls", ()):
        arguments = called["function"]["arguments"]
        start = {**called, "index": 0, "function": {**called["function"], "arguments": ""}}
        deltas.append({"tool_calls": [start]})
        deltas += ({"tool_calls": [{"index": 0, "function": {"arguments": part}}]} for part in _parts(arguments))
    common = {**common, "object": "chat.completion.chunk"}
    for delta in deltas:
        yield "", {**common, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield "", {**common, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}], "usage": usage}


def _parts(text: str, size: int = 12) -> Iterator[str]:
    yield from (text[at : at + size] for at in range(0, len(text), size))


def _tool_server(request: Request) -> Response:
    """GitHub's own tools (Model Context Protocol), of which there are none here."""
    said = request.json or {}
    if "id" not in said:
        return Response(202)
    common = {"jsonrpc": "2.0", "id": said["id"]}
    match said.get("method"):
        case "initialize":
            about = {"name": "github-mcp-server", "version": "1"}
            version = said["params"]["protocolVersion"]
            result: dict[str, Any] = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": about}
        case "tools/list":
            result = {"tools": []}
        case "ping":
            result = {}
        case method:
            return json_response({**common, "error": {"code": -32601, "message": f"Method not found: {method}"}})
    return json_response({**common, "result": result})


def _user() -> dict[str, object]:
    quota = {"entitlement": 300, "remaining": 300, "quota_remaining": 300.0, "percent_remaining": 100.0}
    premium = {**quota, "quota_id": "premium_interactions", "overage_count": 0, "overage_permitted": False}
    return {
        "login": "octocat",
        "access_type_sku": "monthly_subscriber_quota",
        "copilot_plan": "individual",
        "chat_enabled": True,
        "is_mcp_enabled": True,
        "cli_remote_control_enabled": False,
        "can_signup_for_limited": False,
        "organization_list": [],
        "organization_login_list": [],
        "endpoints": {"api": f"https://{_MODELS_API}"},
        "quota_snapshots": {"premium_interactions": {**premium, "unlimited": False}},
    }


def _model(name: str, title: str, vendor: str) -> dict[str, object]:
    limits = {"max_context_window_tokens": 144000, "max_prompt_tokens": 128000, "max_output_tokens": 16000}
    supports = {"streaming": True, "tool_calls": True, "parallel_tool_calls": True}
    about = {"object": "model_capabilities", "type": "chat", "family": name, "tokenizer": "o200k_base"}
    return {
        "object": "model",
        "id": name,
        "name": title,
        "vendor": vendor,
        "version": name,
        "preview": False,
        "model_picker_enabled": True,
        "model_picker_category": "versatile",
        "is_chat_default": vendor == "Anthropic",
        "is_chat_fallback": False,
        "billing": {"is_premium": True, "multiplier": 1},
        "policy": {"state": "enabled", "terms": ""},
        "capabilities": {**about, "limits": limits, "supports": supports},
        "supported_endpoints": ["/chat/completions"],
    }


def _error(status: int, message: str) -> Response:
    return json_response({"message": message, "documentation_url": _DOCS, "status": str(status)}, status)
