"""Ollama's protocol: chat, embed, and what is installed and loaded."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Iterator, Mapping
from typing import Any

from model_manager.testing._faults import Answer, HttpFault, InStreamError
from model_manager.testing._wire import (
    Ask,
    Frames,
    Page,
    as_json,
    counted,
    pieces,
    vectors_for,
)
from model_manager.types import InstalledModel

__all__ = ["OllamaWire", "ollama_name"]

VERSION = "0.32.15"
"""The server whose recorded answers these agree with."""
_CREATED = "2026-01-01T00:00:00.000000000Z"
_JSON = "application/json; charset=utf-8"
_WINDOW = 8192
_SIZE = 2_000_000_000
_LOAD = 1_000_000
_NS_A_TOKEN = 10_000_000
_BUSY = "server busy, please try again.  maximum pending requests exceeded"
_ERRORS: Mapping[int, str] = {
    400: "invalid request",
    404: "model '{model}' not found",
    500: "an error was encountered while running the model: unexpected EOF",
    503: _BUSY,
    529: _BUSY,
}
_OLLAMA_WORDS: Mapping[str, str] = {"embeddings": "embedding"}
_GET = ("/", "/api/version", "/api/tags", "/api/ps")
_POST = ("/api/chat", "/api/embed", "/api/show")


def ollama_name(name: str) -> str:
    """Return the name with its tag: `x` is `x:latest`."""
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


class OllamaWire:
    """Writes what Ollama's native API writes."""

    stream_type = "application/x-ndjson"
    json_type = _JSON
    headers_wait = True
    unreadable = b'{"model":"simulated","created_at":"2026-01-0\n'

    def __init__(self, models: tuple[InstalledModel, ...] | None) -> None:
        """Know these models only; `None` answers to every name and lists none."""
        self._any = models is None
        self._models = {ollama_name(model.name): model for model in models or ()}
        self._loaded: dict[str, InstalledModel] = {}

    def ask(self, method: str, path: str, body: Any) -> Ask | None:
        """Read a chat or an embedding request; a bare load is answered as a page."""
        if method != "POST" or not isinstance(body, dict):
            return None
        model = str(body.get("model", ""))
        if path == "/api/embed":
            given = body.get("input") or ()
            inputs = (given,) if isinstance(given, str) else tuple(given)
            return Ask(operation="embed", model=model, body=body, inputs=inputs)
        messages = body.get("messages") or []
        if path != "/api/chat" or (model and not messages):
            return None
        functions = [tool["function"] for tool in body.get("tools") or ()]
        wanted = body.get("format")
        return Ask(
            operation="chat",
            model=model,
            body=body,
            streaming=body.get("stream", True),
            tools=tuple((f["name"], f.get("parameters") or {}) for f in functions),
            answers_tools=bool(messages) and messages[-1].get("role") == "tool",
            schema={"type": "object"} if wanted == "json" else wanted or None,
        )

    def refusal(self, ask: Ask) -> HttpFault | None:
        """Refuse what Ollama refuses: unknown models, and what they cannot do."""
        if not ask.model:
            return HttpFault(400, message="model is required")
        model = self._known(ask.model)
        if model is None:
            return HttpFault(404)
        if ask.operation == "embed" and not _embeds(model):
            text = (
                "This server does not support embeddings. Start it with `--embeddings`"
            )
            return HttpFault(501, message=text)
        lacking = _lacking(ask, _capabilities(model))
        if lacking:
            text = f'"{ask.model}" does not support {lacking}'
            return HttpFault(400, message=text)
        self._loaded[ollama_name(ask.model)] = model
        return None

    def page(self, method: str, path: str, body: Any) -> Page:
        """Answer the questions about the server and its models, and bare loads."""
        asked = body if isinstance(body, dict) else {}
        if method in {"GET", "HEAD"} and path in _GET:
            return self._about(path)
        if method == "POST" and path in _POST and not isinstance(body, dict):
            return self.error(HttpFault(400, message="unexpected EOF"), "", 0)
        if method == "POST" and path == "/api/show":
            return self._show(str(asked.get("model", "")))
        if method == "POST" and path == "/api/chat":
            return self._load(asked)
        plain = "text/plain"
        if path in (*_GET, *_POST):
            return Page(b"405 method not allowed", 405, plain)
        return Page(b"404 page not found", 404, plain)

    def whole(self, ask: Ask, answer: Answer, _serial: int) -> bytes:
        """Write one object with everything in it."""
        model = answer.model or ask.model
        if ask.operation == "embed":
            vectors = [list(vector) for vector in vectors_for(ask, answer)]
            tokens = counted(ask, answer).input_tokens
            body = {
                "model": model,
                "embeddings": vectors,
                "total_duration": _LOAD * 2,
                "load_duration": _LOAD,
            }
            return as_json(
                body | ({} if tokens is None else {"prompt_eval_count": tokens})
            )
        message: dict[str, Any] = {"content": answer.text}
        if answer.thinking:
            message["thinking"] = answer.thinking
        if answer.tool_calls:
            message["tool_calls"] = _calls(answer)
        return as_json(_object(model, message) | _end(ask, answer))

    def frames(self, ask: Ask, answer: Answer, _serial: int) -> Frames:
        """Write one object a line; the last one says `done` and holds the counts."""
        model = answer.model or ask.model
        content = tuple(
            as_json(_object(model, message) | {"done": False}) + b"\n"
            for message in _messages(answer)
        )
        last = _object(model, {"content": ""}) | _end(ask, answer)
        return Frames(opening=(), content=content, closing=(as_json(last) + b"\n",))

    def error(self, fault: HttpFault | InStreamError, model: str, _serial: int) -> Page:
        """Write `{"error": "..."}`."""
        return Page(as_json(_error(fault, model)), fault.status, _JSON)

    def error_frame(self, fault: InStreamError, model: str, _serial: int) -> bytes:
        """Write the same object as a line."""
        return as_json(_error(fault, model)) + b"\n"

    def headers(self, _serial: int) -> Mapping[str, str]:
        """Return nothing: Ollama sends neither ids nor limits."""
        return {}

    def key(self, headers: Mapping[str, str]) -> str | None:
        """Return the bearer token; Ollama itself wants none."""
        return headers.get("authorization", "").removeprefix("Bearer ") or None

    def _known(self, name: str) -> InstalledModel | None:
        found = self._models.get(ollama_name(name))
        return InstalledModel(name=name) if found is None and self._any else found

    def _about(self, path: str) -> Page:
        if path == "/":
            return Page(b"Ollama is running", 200, "text/plain; charset=utf-8")
        if path == "/api/version":
            return Page(as_json({"version": VERSION}), 200, _JSON)
        if path == "/api/tags":
            listed = [_tag(name, model) for name, model in self._models.items()]
        else:
            listed = [_process(name, model) for name, model in self._loaded.items()]
        return Page(as_json({"models": listed}), 200, _JSON)

    def _show(self, name: str) -> Page:
        model = self._known(name)
        if model is None:
            return self.error(HttpFault(404), name, 0)
        window = model.context_window or _WINDOW
        shown: dict[str, Any] = {
            "modelfile": f"# simulated\nFROM {ollama_name(name)}\n",
            "template": "{{ .Prompt }}",
            "details": _details(),
            "model_info": {
                "general.architecture": "llama",
                "general.file_type": 0,
                "general.parameter_count": 520_576,
                "llama.block_count": 2,
                "llama.context_length": window,
                "llama.embedding_length": 128,
                "llama.feed_forward_length": 256,
                "llama.attention.head_count": 4,
                "llama.attention.head_count_kv": 2,
                "llama.vocab_size": 879,
                "tokenizer.ggml.tokens": None,
            },
            "tensors": list(_tensors(model.size)),
            "capabilities": sorted(_capabilities(model) or {"completion"}),
            "modified_at": _CREATED,
        }
        return Page(as_json(shown | _remote(name, model)), 200, _JSON)

    def _load(self, asked: Mapping[str, Any]) -> Page:
        """Answer a chat without messages: it loads the model, or unloads it."""
        name = str(asked.get("model", ""))
        model = self._known(name)
        if model is None:
            return self.error(HttpFault(404), name, 0)
        unload = asked.get("keep_alive") in {0, "0", "0s"}
        if unload:
            self._loaded.pop(ollama_name(name), None)
        else:
            self._loaded[ollama_name(name)] = model
        reason = "unload" if unload else "load"
        done = {"done": True, "done_reason": reason}
        return Page(as_json(_object(name, {"content": ""}) | done), 200, _JSON)


def _tensors(size: int | None) -> Iterator[dict[str, Any]]:
    """Yield tensors that together are as large as the model is said to be."""
    yield {"name": "output.weight", "type": "F32", "shape": [128, 879]}
    yield {"name": "token_embd.weight", "type": "F32", "shape": [128, 879]}
    if size is not None:
        yield {"name": "blk.0.ffn_up.weight", "type": "F16", "shape": [size // 2]}


def _capabilities(model: InstalledModel) -> frozenset[str] | None:
    """Return Ollama's words for what the model can do; `None` when not told."""
    if model.capabilities is None:
        return None
    words = {_OLLAMA_WORDS.get(word, word) for word in model.capabilities}
    if "embedding" not in words:
        words.add("completion")
    return frozenset(words - {"json_schema"})


def _embeds(model: InstalledModel) -> bool:
    capabilities = _capabilities(model)
    return capabilities is None or "embedding" in capabilities


def _lacking(ask: Ask, capabilities: frozenset[str] | None) -> str | None:
    if capabilities is None or ask.operation == "embed":
        return None
    if "completion" not in capabilities:
        return "chat"
    if ask.tools and "tools" not in capabilities:
        return "tools"
    if ask.body.get("think") and "thinking" not in capabilities:
        return "thinking"
    return None


def _details() -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "521K",
        "quantization_level": "Q4_K_M",
    }


def _remote(name: str, model: InstalledModel) -> dict[str, str]:
    if model.remote_host is None:
        return {}
    return {"remote_model": name.split(":", 1)[0], "remote_host": model.remote_host}


def _tag(name: str, model: InstalledModel) -> dict[str, Any]:
    lengths = {
        "context_length": model.context_window or _WINDOW,
        "embedding_length": 128,
    }
    tag = {
        "name": name,
        "model": name,
        "modified_at": _CREATED,
        "size": _SIZE if model.size is None else model.size,
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "details": _details() | lengths,
        "capabilities": sorted(_capabilities(model) or {"completion"}),
    }
    return tag | _remote(name, model)


def _process(name: str, model: InstalledModel) -> dict[str, Any]:
    size = _SIZE if model.size is None else model.size
    return {
        "name": name,
        "model": name,
        "size": size,
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "details": _details(),
        "expires_at": "2036-01-01T00:00:00Z",
        "size_vram": size,
        "context_length": model.context_window or _WINDOW,
    }


def _object(model: str, message: Mapping[str, Any]) -> dict[str, Any]:
    spoken = {"role": "assistant"} | dict(message)
    return {"model": model, "created_at": _CREATED, "message": spoken}


def _calls(answer: Answer) -> list[dict[str, Any]]:
    return [
        {
            "id": call.id,
            "function": {
                "index": index,
                "name": call.name,
                "arguments": dict(call.arguments),
            },
        }
        for index, call in enumerate(answer.tool_calls)
    ]


def _messages(answer: Answer) -> Iterator[dict[str, Any]]:
    for piece in pieces(answer.thinking, answer.chunk_size):
        yield {"content": "", "thinking": piece}
    for piece in pieces(answer.text, answer.chunk_size):
        yield {"content": piece}
    for call in _calls(answer):
        yield {"content": "", "tool_calls": [call]}


def _end(ask: Ask, answer: Answer) -> dict[str, Any]:
    # Ollama knows no reason of its own for tool calls or refusals.
    reason = "length" if answer.finish_reason == "length" else "stop"
    usage = counted(ask, answer)
    end: dict[str, Any] = {"done": True, "done_reason": reason}
    if usage.input_tokens is None or usage.output_tokens is None:
        return end
    prompt, output = usage.total_input_tokens or 0, usage.output_tokens
    return end | {
        "total_duration": _LOAD * 2 + (prompt + output) * _NS_A_TOKEN,
        "load_duration": _LOAD,
        "prompt_eval_count": prompt,
        "prompt_eval_duration": max(1, prompt) * _NS_A_TOKEN // 10,
        "eval_count": output,
        "eval_duration": max(1, output) * _NS_A_TOKEN,
    }


def _error(fault: HttpFault | InStreamError, model: str) -> dict[str, str]:
    told = _ERRORS.get(fault.status) or http.client.responses.get(fault.status, "error")
    text = fault.message or told
    return {"error": text.replace("{model}", model)}
