"""How does the OpenAI API word a prompt, an answer and its usage?

https://platform.openai.com/docs/api-reference/chat and .../embeddings
"""

from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import Iterator
from typing import Any

from .dialogue import Answer, Prompt, dated

_VECTOR = [0.1, -0.2, 0.3]


def prompt_of(request: dict[str, Any]) -> Prompt:
    """Return the prompt of a request for a chat completion."""
    messages = request["messages"]
    system = " ".join(str(message["content"]) for message in messages if message["role"] in ("system", "developer"))
    return Prompt(system.lower(), has_tool_results=any(message["role"] == "tool" for message in messages))


def completion(request: dict[str, Any], answer: Answer, response_id: str) -> dict[str, Any]:
    """Return *answer* as a chat completion."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.tools:
        message["tool_calls"] = _tool_calls(answer, response_id)
    choice = {"index": 0, "message": message, "finish_reason": _finish_reason(answer), "logprobs": None}
    return {**_head("chat.completion", request, response_id), "choices": [choice], "usage": _usage(answer)}


def completion_events(request: dict[str, Any], answer: Answer, response_id: str) -> Iterator[str]:
    """Give *answer* as server-sent events; usage comes last, and only where ``include_usage`` asks for it."""
    head = _head("chat.completion.chunk", request, response_id)

    def delta(content: dict[str, Any], finish_reason: str | None = None) -> str:
        return _event({**head, "choices": [{"index": 0, "delta": content, "finish_reason": finish_reason}]})

    yield delta({"role": "assistant", "content": ""})
    for word in answer.text.split(" "):
        yield delta({"content": word + " "})
    for index, call in enumerate(_tool_calls(answer, response_id)):
        function = call["function"]
        yield delta({"tool_calls": [{**call, "index": index, "function": {**function, "arguments": ""}}]})
        yield delta({"tool_calls": [{"index": index, "function": {"arguments": function["arguments"]}}]})
    yield delta({}, _finish_reason(answer))
    if (request.get("stream_options") or {}).get("include_usage"):
        yield _event({**head, "choices": [], "usage": _usage(answer)})
    yield "data: [DONE]\n\n"


def embedding_tokens(request: dict[str, Any]) -> int:
    """Return about how many tokens the texts of a request for embeddings have."""
    return sum(max(1, len(text) // 4) for text in _texts(request))


def embeddings(request: dict[str, Any]) -> dict[str, Any]:
    """Return a vector for each text of the request, in the encoding that it asks for."""
    vector = _packed(_VECTOR) if request.get("encoding_format") == "base64" else _VECTOR
    tokens = embedding_tokens(request)
    return {
        "object": "list",
        "model": dated(request["model"]),
        "data": [
            {"object": "embedding", "index": index, "embedding": vector} for index, _ in enumerate(_texts(request))
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _head(kind: str, request: dict[str, Any], response_id: str) -> dict[str, Any]:
    return {
        "id": response_id,
        "object": kind,
        "created": int(time.time()),
        "model": dated(request["model"]),
        "service_tier": "default",
    }


def _usage(answer: Answer) -> dict[str, Any]:
    """Return usage as OpenAI counts it: cached tokens inside the prompt's, reasoning inside the completion's."""
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.input_tokens + answer.output_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.cache_read_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": answer.reasoning_tokens, "audio_tokens": 0},
    }


def _tool_calls(answer: Answer, response_id: str) -> list[dict[str, Any]]:
    return [
        {
            "id": f"call_{response_id.removeprefix('chatcmpl-')}{index}",
            "type": "function",
            "function": {"name": tool.name, "arguments": json.dumps(tool.arguments)},
        }
        for index, tool in enumerate(answer.tools)
    ]


def _finish_reason(answer: Answer) -> str:
    return "tool_calls" if answer.tools else "stop"


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"


def _texts(request: dict[str, Any]) -> list[str]:
    given = request["input"]
    return [given] if isinstance(given, str) else [str(text) for text in given]


def _packed(vector: list[float]) -> str:
    """Return *vector* as little-endian 32 bit floats in base64: what the client library asks for by default."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
