"""A stand-in of the OpenAI and Anthropic HTTP APIs on this machine: enough for their real client libraries.

It answers the requests of ``support_ticket.py`` with words and usage that look like the real thing, and keeps
the list of what it served, which is the truth to compare a bill with.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LATENCY_S = 0.03
"""A model takes a moment to answer."""

_DATED = {
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
    "gpt-5": "gpt-5-2025-08-07",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
}


@dataclass(frozen=True)
class Served:
    """One request that was answered, and so would be billed."""

    operation: str
    model: str
    response_id: str
    input_tokens: int
    """Cached ones included."""
    output_tokens: int
    """Reasoning included."""
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    stream: bool = False


@dataclass(frozen=True)
class _Answer:
    """What the stand-in says, and what it says that this cost."""

    text: str = ""
    tools: tuple[tuple[str, dict[str, Any]], ...] = ()
    input_tokens: int = 800
    output_tokens: int = 120
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


_TRIAGE = _Answer(
    text=json.dumps(
        {
            "category": "billing",
            "priority": "high",
            "summary": "Customer was charged twice for order A-1042 and asks for a refund.",
        }
    ),
    input_tokens=412,
    output_tokens=148,
    reasoning_tokens=96,
)
_RESEARCH = _Answer(
    text="I will look at the order and at our refund policy.",
    tools=(
        ("search_knowledge_base", {"query": "refund policy for duplicate charges"}),
        ("look_up_order", {"order_id": "A-1042"}),
    ),
    input_tokens=2316,
    output_tokens=138,
    cache_write_tokens=1904,
)
_FINDINGS = _Answer(
    text=(
        "Order A-1042 was charged twice on 3 November (2 x $249.00). The second charge has no invoice. Policy KB-17: "
        "duplicate charges are refunded in full within 5 business days, without approval below $500."
    ),
    input_tokens=2748,
    output_tokens=104,
    cache_read_tokens=1904,
    cache_write_tokens=396,
)
_DRAFT = _Answer(
    text=(
        "Hello Dana, thank you for telling us, and sorry for the trouble. You were charged twice for order A-1042. "
        "We have refunded the second charge of $249.00; it will be back on your card within five business days. "
        "You need not do anything. If it is not there by 1 December, answer this message and we will chase it."
    ),
    input_tokens=1136,
    output_tokens=486,
    cache_read_tokens=0,
    reasoning_tokens=384,
)
_HELLO = _Answer(text="Hello! How can I help you today?", input_tokens=24, output_tokens=11)


def _answer(system: str, has_tool_results: bool) -> _Answer:
    if "triage" in system:
        return _TRIAGE
    if "research" in system:
        return _FINDINGS if has_tool_results else _RESEARCH
    if "writer" in system:
        return _DRAFT
    return _HELLO


class StandIn:
    """The server; use it as a context manager."""

    def __init__(self) -> None:
        self.served: list[Served] = []
        self._count = itertools.count(1)
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def openai_base_url(self) -> str:
        """Return what the OpenAI client takes as ``base_url``."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def anthropic_base_url(self) -> str:
        """Return what the Anthropic client takes as ``base_url``."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> StandIn:  # noqa: PYI034  # an example needs no typing_extensions
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def next_id(self, prefix: str) -> str:
        """Return a new response id."""
        with self._lock:
            return f"{prefix}{next(self._count):04}{int(time.time() * 1000):x}"

    def record(self, served: Served) -> None:
        """Remember a request that was answered."""
        with self._lock:
            self.served.append(served)


def _handler(provider: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
            time.sleep(LATENCY_S)
            if self.path.endswith("/chat/completions"):
                self._chat(request)
            elif self.path.endswith("/embeddings"):
                self._send(_embeddings(provider, request))
            elif self.path.endswith("/messages"):
                self._messages(request)
            else:
                self._send({"error": {"message": f"no such path: {self.path}"}}, 404)

        def _chat(self, request: dict[str, Any]) -> None:
            answer = _answer(*_openai_prompt(request["messages"]))
            response_id = provider.next_id("chatcmpl-")
            if request.get("stream"):
                with_usage = bool((request.get("stream_options") or {}).get("include_usage"))
                self._stream(_chat_chunks(request, answer, response_id, with_usage=with_usage))
            else:
                self._send(_chat_completion(request, answer, response_id))
            provider.record(_served("chat", request, answer, response_id))

        def _messages(self, request: dict[str, Any]) -> None:
            answer = _answer(*_anthropic_prompt(request))
            response_id = provider.next_id("msg_01")
            if request.get("stream"):
                self._stream(_message_events(request, answer, response_id))
            else:
                self._send(_message(request, answer, response_id))
            provider.record(_served("chat", request, answer, response_id))

        def _send(self, content: dict[str, Any], status: int = 200) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, events: Iterator[str]) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            for event in events:
                self.wfile.write(event.encode())
                self.wfile.flush()
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def _openai_prompt(messages: list[dict[str, Any]]) -> tuple[str, bool]:
    system = " ".join(str(message["content"]) for message in messages if message["role"] in ("system", "developer"))
    return system.lower(), any(message["role"] == "tool" for message in messages)


def _anthropic_prompt(request: dict[str, Any]) -> tuple[str, bool]:
    has_results = any(
        isinstance(message["content"], list) and any(part.get("type") == "tool_result" for part in message["content"])
        for message in request["messages"]
    )
    return json.dumps(request.get("system", "")).lower(), has_results


def _served(operation: str, request: dict[str, Any], answer: _Answer, response_id: str) -> Served:
    return Served(
        operation=operation,
        model=_DATED.get(request["model"], request["model"]),
        response_id=response_id,
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        cache_read_tokens=answer.cache_read_tokens,
        cache_write_tokens=answer.cache_write_tokens,
        reasoning_tokens=answer.reasoning_tokens,
        stream=bool(request.get("stream")),
    )


def _openai_usage(answer: _Answer) -> dict[str, Any]:
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.input_tokens + answer.output_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.cache_read_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": answer.reasoning_tokens, "audio_tokens": 0},
    }


def _chat_completion(request: dict[str, Any], answer: _Answer, response_id: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    return {
        "id": response_id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": _DATED.get(request["model"], request["model"]),
        "service_tier": "default",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": _openai_usage(answer),
    }


def _chat_chunks(request: dict[str, Any], answer: _Answer, response_id: str, *, with_usage: bool) -> Iterator[str]:
    def chunk(choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> str:
        content = {
            "id": response_id,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": _DATED.get(request["model"], request["model"]),
            "choices": choices,
            "usage": usage,
        }
        return f"data: {json.dumps(content)}\n\n"

    for word in answer.text.split(" "):
        yield chunk([{"index": 0, "delta": {"role": "assistant", "content": word + " "}, "finish_reason": None}])
    yield chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    if with_usage:
        yield chunk([], _openai_usage(answer))
    yield "data: [DONE]\n\n"


def _embeddings(provider: StandIn, request: dict[str, Any]) -> dict[str, Any]:
    texts = request["input"] if isinstance(request["input"], list) else [request["input"]]
    tokens = sum(max(1, len(str(text)) // 4) for text in texts)
    provider.record(Served("embeddings", request["model"], "", tokens, 0))
    data = [{"object": "embedding", "index": index, "embedding": [0.1, 0.2, 0.3]} for index, _ in enumerate(texts)]
    return {
        "object": "list",
        "model": request["model"],
        "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _anthropic_usage(answer: _Answer, output_tokens: int) -> dict[str, Any]:
    """Return usage as Anthropic counts it: cached tokens beside the input tokens."""
    return {
        "input_tokens": answer.input_tokens - answer.cache_read_tokens - answer.cache_write_tokens,
        "cache_creation_input_tokens": answer.cache_write_tokens,
        "cache_read_input_tokens": answer.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": answer.cache_write_tokens,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }


def _blocks(answer: _Answer, response_id: str) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = [{"type": "text", "text": answer.text}]
    for position, (name, arguments) in enumerate(answer.tools):
        call_id = f"toolu_{response_id[6:]}{position}"
        blocks.append({"type": "tool_use", "id": call_id, "name": name, "input": arguments})
    return blocks


def _message(request: dict[str, Any], answer: _Answer, response_id: str) -> dict[str, Any]:
    return {
        "id": response_id,
        "type": "message",
        "role": "assistant",
        "model": _DATED.get(request["model"], request["model"]),
        "content": _blocks(answer, response_id),
        "stop_reason": "tool_use" if answer.tools else "end_turn",
        "stop_sequence": None,
        "usage": _anthropic_usage(answer, answer.output_tokens),
    }


def _message_events(request: dict[str, Any], answer: _Answer, response_id: str) -> Iterator[str]:
    def event(kind: str, **content: Any) -> str:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **content})}\n\n"

    start = {**_message(request, answer, response_id), "content": [], "stop_reason": None}
    yield event("message_start", message={**start, "usage": _anthropic_usage(answer, 1)})
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for word in answer.text.split(" "):
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": word + " "})
    yield event("content_block_stop", index=0)
    yield event(
        "message_delta",
        delta={"stop_reason": "end_turn", "stop_sequence": None},
        usage=_anthropic_usage(answer, answer.output_tokens),
    )
    yield event("message_stop")
