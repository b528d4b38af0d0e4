"""How does the Anthropic API word a prompt, an answer and its usage?

https://docs.anthropic.com/en/api/messages and .../messages-streaming
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .dialogue import Answer, Prompt, dated


def prompt_of(request: dict[str, Any]) -> Prompt:
    """Return the prompt of a request for a message."""
    has_results = any(
        isinstance(message["content"], list) and any(part.get("type") == "tool_result" for part in message["content"])
        for message in request["messages"]
    )
    return Prompt(json.dumps(request.get("system", "")).lower(), has_tool_results=has_results)


def message(request: dict[str, Any], answer: Answer, response_id: str) -> dict[str, Any]:
    """Return *answer* as a message."""
    return {
        "id": response_id,
        "type": "message",
        "role": "assistant",
        "model": dated(request["model"]),
        "content": [{"type": "text", "text": answer.text}, *_tool_uses(answer, response_id)],
        "stop_reason": _stop_reason(answer),
        "stop_sequence": None,
        "usage": _usage(request, answer, answer.output_tokens),
    }


def message_events(request: dict[str, Any], answer: Answer, response_id: str) -> Iterator[str]:
    """Give *answer* as server-sent events; the count of output tokens is final in ``message_delta`` only."""
    whole = message(request, answer, response_id)
    start = {**whole, "content": [], "stop_reason": None, "usage": _usage(request, answer, 1)}
    yield _event("message_start", message=start)
    yield _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for word in answer.text.split(" "):
        yield _event("content_block_delta", index=0, delta={"type": "text_delta", "text": word + " "})
    yield _event("content_block_stop", index=0)
    for index, block in enumerate(_tool_uses(answer, response_id), start=1):
        arguments = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        yield _event("content_block_start", index=index, content_block={**block, "input": {}})
        yield _event("content_block_delta", index=index, delta=arguments)
        yield _event("content_block_stop", index=index)
    delta = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
    yield _event("message_delta", delta=delta, usage=whole["usage"])
    yield _event("message_stop")


def _usage(request: dict[str, Any], answer: Answer, output_tokens: int) -> dict[str, Any]:
    """Return usage as Anthropic counts it: cached tokens beside the input tokens, writes also by time to live."""
    written, for_an_hour = answer.cache_write_tokens, _caches_for_an_hour(request)
    return {
        "input_tokens": answer.input_tokens - answer.cache_read_tokens - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": answer.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": 0 if for_an_hour else written,
            "ephemeral_1h_input_tokens": written if for_an_hour else 0,
        },
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }


def _caches_for_an_hour(request: dict[str, Any]) -> bool:
    system = request.get("system")
    blocks = system if isinstance(system, list) else []
    return any((block.get("cache_control") or {}).get("ttl") == "1h" for block in blocks)


def _tool_uses(answer: Answer, response_id: str) -> list[dict[str, Any]]:
    return [
        {
            "type": "tool_use",
            "id": f"toolu_{response_id.removeprefix('msg_')}{index}",
            "name": tool.name,
            "input": tool.arguments,
        }
        for index, tool in enumerate(answer.tools)
    ]


def _stop_reason(answer: Answer) -> str:
    return "tool_use" if answer.tools else "end_turn"


def _event(kind: str, **content: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **content})}\n\n"
