"""What was said, in the GenAI convention's messages?

https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-agent-spans.md

Only asked for where content is captured (``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry.util.genai.types import (
    InputMessage,
    MessagePart,
    OutputMessage,
    TextPart,
    ToolCallRequestPart,
    ToolCallResponsePart,
)

from otel_obs.instrumentation.paths import get
from otel_obs.instrumentation.response import response_of
from otel_obs.instrumentation.values import text_of, value_of

INPUTS = ("messages", "prompt", "input", "inputs", "query", "question", "message", "text", "contents")
"""Parameters that hold what is asked, if nobody said which one does."""


MAX_MESSAGES = 1_000
"""Messages of a prompt that are told: the last ones."""


def input_of(arguments: Mapping[str, Any]) -> Any:
    """Return what is asked: the argument whose name says so, else all of them but the instance."""
    for name in INPUTS:
        if arguments.get(name) is not None:
            return arguments[name]
    return {name: value for name, value in arguments.items() if name not in {"self", "cls"}}


def asked(value: Any) -> list[InputMessage]:
    """Return *value* as messages: those it holds (``{"role", "content"}``), else it is what a user says."""
    if isinstance(value, list | tuple):
        messages: list[InputMessage] = []
        for item in value[-MAX_MESSAGES:]:
            message = _message(item)
            if message is None:
                break
            messages.append(message)
        else:
            if messages:
                return messages
    text = text_of(value)
    return [InputMessage(role="user", parts=[TextPart(content=text)])] if text else []


def answered(value: Any) -> list[OutputMessage]:
    """Return *value* as the message of an assistant: a provider's answer, a text, or JSON."""
    if value is None:
        return []
    text = value if isinstance(value, str) else response_of(value).text or text_of(value)
    return [OutputMessage(role="assistant", parts=[TextPart(content=text)])] if text else []


def _message(item: Any) -> InputMessage | None:
    role = get(item, "role") or _LANGCHAIN_ROLES.get(str(get(item, "type")))
    if not isinstance(role, str):
        return None
    parts = list(_parts(item, role))
    return InputMessage(role=role, parts=parts)


_LANGCHAIN_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}


def _parts(item: Any, role: str) -> Iterator[MessagePart]:
    content = get(item, "content") or get(item, "parts")
    if role == "tool":
        call_id = get(item, "tool_call_id")
        yield ToolCallResponsePart(response=text_of(content), id=call_id if isinstance(call_id, str) else None)
        return
    for piece in content if isinstance(content, list) else [content]:
        text = piece if isinstance(piece, str) else get(piece, "text") or get(piece, "content")
        if text is not None or piece is not None:
            yield TextPart(content=text_of(piece if text is None else text))
    calls = get(item, "tool_calls")
    for call in calls if isinstance(calls, list) else []:
        name = get(call, "function", "name") or get(call, "name")
        arguments = get(call, "function", "arguments") or get(call, "args")
        call_id = get(call, "id")
        yield ToolCallRequestPart(
            name=str(name), arguments=value_of(arguments), id=call_id if isinstance(call_id, str) else None
        )
