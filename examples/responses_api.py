"""How does OpenAI's Responses API word a prompt, an answer and its usage?

https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

from .dialogue import Answer, Prompt, dated


def prompt_of(request: dict[str, Any]) -> Prompt:
    """Return the prompt of a request for a response."""
    given = request["input"]
    items: list[dict[str, Any]] = [] if isinstance(given, str) else given
    system = [str(item["content"]) for item in items if item.get("role") in {"system", "developer"}]
    return Prompt(
        " ".join([request.get("instructions") or "", *system]).lower(),
        has_tool_results=any(item.get("type") == "function_call_output" for item in items),
    )


def response(request: dict[str, Any], answer: Answer, response_id: str) -> dict[str, Any]:
    """Return *answer* as a response."""
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(time.time()),
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": request.get("instructions"),
        "model": dated(request["model"]),
        "output": [_message(answer, response_id), *_calls(answer, response_id)],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": request.get("tools") or [],
        "service_tier": "default",
        "usage": _usage(answer),
    }


def response_events(request: dict[str, Any], answer: Answer, response_id: str) -> Iterator[str]:
    """Give *answer* as server-sent events; the response comes whole, with usage, in the last one."""
    whole = response(request, answer, response_id)
    numbers = count()

    def event(kind: str, **content: Any) -> str:
        body = {"type": kind, "sequence_number": next(numbers), **content}
        return f"event: {kind}\ndata: {json.dumps(body)}\n\n"

    yield event("response.created", response={**whole, "status": "in_progress", "output": [], "usage": None})
    for index, item in enumerate(whole["output"]):
        place = {"output_index": index, "item_id": item["id"]}
        empty = {"content": []} if item["type"] == "message" else {"arguments": ""}
        yield event("response.output_item.added", output_index=index, item={**item, **empty, "status": "in_progress"})
        if item["type"] == "message":
            part = item["content"][0]
            yield event("response.content_part.added", **place, content_index=0, part={**part, "text": ""})
            for word in answer.text.split(" "):
                yield event("response.output_text.delta", **place, content_index=0, delta=word + " ", logprobs=[])
            yield event("response.output_text.done", **place, content_index=0, text=answer.text, logprobs=[])
            yield event("response.content_part.done", **place, content_index=0, part=part)
        else:
            yield event("response.function_call_arguments.delta", **place, delta=item["arguments"])
            yield event(
                "response.function_call_arguments.done", **place, name=item["name"], arguments=item["arguments"]
            )
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=whole)


def _usage(answer: Answer) -> dict[str, Any]:
    return {
        "input_tokens": answer.input_tokens,
        "input_tokens_details": {"cached_tokens": answer.cache_read_tokens, "cache_write_tokens": 0},
        "output_tokens": answer.output_tokens,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
        "total_tokens": answer.input_tokens + answer.output_tokens,
    }


def _message(answer: Answer, response_id: str) -> dict[str, Any]:
    return {
        "type": "message",
        "id": f"msg_{response_id.removeprefix('resp_')}",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}],
    }


def _calls(answer: Answer, response_id: str) -> list[dict[str, Any]]:
    return [
        {
            "type": "function_call",
            "id": f"fc_{response_id.removeprefix('resp_')}{index}",
            "call_id": f"call_{response_id.removeprefix('resp_')}{index}",
            "name": tool.name,
            "arguments": json.dumps(tool.arguments),
            "status": "completed",
        }
        for index, tool in enumerate(answer.tools)
    ]
