"""Which attributes hold what was said: prompts, answers, tool arguments and results.

They go to ``span_contents`` and nowhere else, so every attribute of any known instrumentation that can
hold content is named here, whichever dialect a span turns out to speak.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from otel_obs.dialects.names import speak_of_models, speak_of_nothing_else
from otel_obs.dialects.parameters import PARAMETERS
from otel_obs.frozen import dataclass
from otel_obs.model import Attributes, AttributeValue, Content, SpanEvent
from otel_obs.remembering import remembered
from otel_obs.semconv import GUARDRAIL_FLAGGED_REFERENCE

Part = Literal["input", "output", "system", "tools", "tool_arguments", "tool_result", "reference"]

_NAMES: dict[str, Part | None] = {
    "gen_ai.input.messages": "input",
    "gen_ai.output.messages": "output",
    "gen_ai.system_instructions": "system",
    "gen_ai.tool.definitions": "tools",
    "system_prompt": "system",
    "gen_ai.tool.call.arguments": "tool_arguments",
    "gen_ai.tool.call.result": "tool_result",
    "gen_ai.tool.args": "tool_arguments",
    "gen_ai.tool.input": "tool_arguments",
    "gen_ai.tool.output": "tool_result",
    "gen_ai.input.text": "input",
    "gen_ai.input.speech": None,
    "gen_ai.input.embedding": "input",
    "gen_ai.output": "output",
    "gen_ai.request.prompt": "input",
    "gen_ai.request.instructions": "system",
    "gen_ai.request.tools": "tools",
    "gen_ai.request.tool.definitions": "tools",
    "gen_ai.raw_request": None,
    "gen_ai.raw_response": None,
    "gen_ai.execution.payload": None,
    "gen_ai.prompt": "input",
    "gen_ai.completion": "output",
    "gen_ai.request.messages": "input",
    "gen_ai.request.available_tools": "tools",
    "gen_ai.response.text": "output",
    "gen_ai.response.tool_calls": "output",
    "gen_ai.response.reasoning": None,
    "gen_ai.embeddings.input": "input",
    "gen_ai.task.input": "input",
    "gen_ai.task.output": "output",
    "gen_ai.crewai.crew.agents": None,
    "gen_ai.crewai.task.description": "input",
    "gen_ai.crewai.task.expected_output": None,
    "gen_ai.crewai.agent.goal": None,
    "gen_ai.crewai.agent.backstory": None,
    "crewai.crew.agents": None,
    "crewai.crew.tasks": None,
    "crewai.crew.result": "output",
    "crewai.crew.tasks_output": None,
    "crewai.task.description": "input",
    "crewai.task.expected_output": None,
    "crewai.task.context": None,
    "crewai.task.tools": "tools",
    "crewai.agent.goal": None,
    "crewai.agent.backstory": None,
    "crewai.agent.tools": "tools",
    "gen_ai.retrieval.query.text": "input",
    "gen_ai.retrieval.documents": "output",
    "gen_ai.memory.query.text": "input",
    "gen_ai.memory.records": "output",
    "gen_ai.request.structured_output_schema": None,
    GUARDRAIL_FLAGGED_REFERENCE: None,
    "input.value": "input",
    "output.value": "output",
    "llm.prompts": "input",
    "tool_call.function.arguments": "tool_arguments",
    "tool.parameters": None,
    "traceloop.entity.input": "input",
    "traceloop.entity.output": "output",
    "gen_ai.prompts": "system",
    "gen_ai.request.embedding_inputs": "input",
    "gen_ai.request.tool_results": None,
    "gen_ai.request.functions": "tools",
    "llm.request.functions": "tools",
    "langfuse.observation.metadata.response_format": None,
    "instructions": "system",
    "_llmobs": None,
    "ai.prompt.messages": "input",
    "ai.prompt": "input",
    "ai.prompt.tools": "tools",
    "ai.value": "input",
    "ai.values": "input",
    "ai.embedding": None,
    "ai.embeddings": None,
    "ai.schema": None,
    "ai.response.text": "output",
    "ai.response.object": "output",
    "ai.response.toolCalls": "output",
    "ai.response.reasoning": None,
    "ai.response.files": None,
    "ai.request.text": "input",
    "ai.documents": "input",
    "ai.ranking": "output",
    "ai.decision.state": "input",
    "ai.decision.questions": "input",
    "ai.decision.answers": "output",
    "ai.result.text": "output",
    "ai.result.object": "output",
    "ai.result.toolCalls": "output",
    "ai.toolCall.args": "tool_arguments",
    "ai.toolCall.result": "tool_result",
    "mlflow.spanInputs": "input",
    "mlflow.spanOutputs": "output",
    "mlflow.chat.messages": "input",
    "mlflow.chat.tools": "tools",
    "langfuse.observation.input": "input",
    "langfuse.observation.output": "output",
    "langfuse.trace.input": "input",
    "langfuse.trace.output": "output",
    "haystack.component.input": "input",
    "haystack.component.output": "output",
    "haystack.agent.input": "input",
    "haystack.agent.output": "output",
    "haystack.agent.tools": "tools",
    "haystack.agent.step.llm.input": "input",
    "haystack.agent.step.llm.output": "output",
    "haystack.agent.step.tool.input": "tool_arguments",
    "haystack.agent.step.tool.output": "tool_result",
    "haystack.pipeline.input_data": "input",
    "haystack.pipeline.output_data": "output",
    "pydantic_ai.all_messages": "input",
    "all_messages_events": "input",
    "final_result": "output",
    "tool_arguments": "tool_arguments",
    "tool_response": "tool_result",
    "model_request_parameters": "tools",
    "request_data": None,
    "response_data": "output",
    "gcp.vertex.agent.llm_request": "input",
    "gcp.vertex.agent.llm_response": "output",
    "gcp.vertex.agent.tool_call_args": "tool_arguments",
    "gcp.vertex.agent.tool_response": "tool_result",
    "gcp.vertex.agent.data": None,
    "llamaindex.step.input_summary": "input",
    "llm.prompt_template.template": None,
    "llm.prompt_template.variables": None,
    "mastra.metadata.body": None,
    "lmnr.span.input": "input",
    "lmnr.span.output": "output",
    "genkit:input": "input",
    "genkit:output": "output",
    "spring.ai.tool.call.arguments": "tool_arguments",
    "spring.ai.tool.call.result": "tool_result",
    "spring.ai.chat.client.system.text": "system",
    "spring.ai.chat.client.user.text": "input",
    "db.vector.query.content": "input",
    "db.vector.query.response.documents": "output",
    "microsoft.a365.agent.thought.process": None,
    "embabel.agent.result": None,
    "embabel.action.result": "output",
    "embabel.goal.result": "output",
    "embabel.rag.query": "input",
    "embabel.tracked.args": "input",
    "embabel.tracked.result": "output",
    "embabel.dynamic_agent.basis": "input",
    "embabel.replan.reason": None,
    "crew_agents": None,
    "crew_tasks": None,
    "crew_inputs": "input",
    "llm.generated_message": None,
    "nat.metadata": None,
    "confident.span.context": None,
    "confident.span.retrieval_context": None,
    "confident.span.expected_output": None,
    "confident.trace.context": None,
    "confident.trace.retrieval_context": None,
    "confident.trace.expected_output": None,
    "confident.llm.prompt": None,
}
"""Attribute -> the part that it is; None: content that is said elsewhere too, and so is left out."""

_PREFIXES: tuple[tuple[str, Part | None], ...] = (
    ("gen_ai.prompt.", "input"),
    ("gen_ai.completion.", "output"),
    ("gen_ai.choice.", None),
    ("gen_ai.input.messages.", "input"),
    ("gen_ai.output.messages.", "output"),
    ("gen_ai.tool.definitions.", "tools"),
    ("gen_ai.request.functions.", "tools"),
    ("traceloop.prompt.template", None),
    ("llm.input_messages.", "input"),
    ("llm.output_messages.", "output"),
    ("llm.prompts.", "input"),
    ("llm.completions.", "output"),
    ("llm.choices.", "output"),
    ("llm.tools.", "tools"),
    ("llm.request.functions.", "tools"),
    ("retrieval.documents.", "output"),
    ("reranker.input_documents.", "input"),
    ("reranker.output_documents.", "output"),
    ("reranker.query", "input"),
    ("embedding.embeddings", None),
    ("embedding.text", None),
    ("message.contents.", "input"),
    ("github.copilot.tool.parameters.", None),
)
_MARKED = ".pii."
"""How LiveKit marks what may say who somebody is, or what was said."""
_NOT_CONTENT = frozenset({"gen_ai.prompt.name", "gen_ai.prompt.version", "gen_ai.prompt.id"})
_RAW_REQUEST = re.compile(
    r"^llm\.(?!token_count\.|cost\.|usage\.)[\w-]+\.(messages|choices|content|input|prompt|tools|system|extra_body|data"
    r"|output|instructions|contents|candidates|message|query|documents|texts|results|response|completion)$"
)
_SIDES: dict[str, Part] = {"input": "input", "inputs": "input", "output": "output", "outputs": "output"}
_WHOLE_SIDES: dict[str, Part] = {"request": "input", "response": "output"}
"""What means the same where nothing stands behind it: ``gen_ai.workflow.request``, ``trpc.go.agent.llm_response``."""
_BARE: dict[str, Part] = {
    "messages": "input", "prompt": "input", "text": "input", "completion": "output", "text_output": "output",
    "transcript": "output", "tools": "tools", "tools.definitions": "tools", "tool.arguments": "tool_arguments",
    "tool.result": "tool_result", "session.instructions": "system",
}  # fmt: skip
"""What was said under no vendor's name; ``text`` is what is to be spoken."""
_WHOLLY = frozenset({"content", "data", "json", "messages", "result", "text", "texts", "value"})
"""What may stand behind ``input`` or ``output`` and means no less than that."""
_COUNTED = frozenset({"bytes", "cost", "count", "length", "price", "size", "token", "tokens", "usage"})
_DOCUMENT = re.compile(r"^documents\.\d+\.")
"""What OpenLLMetry for JavaScript calls the documents that Cohere is to rank."""
_INDEXED = re.compile(r"\.(\d+)(?:\.|$)")

_EVENTS: dict[str, Part] = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "input",
    "gen_ai.assistant.message": "input",
    "gen_ai.tool.message": "input",
    "gen_ai.choice": "output",
    "gen_ai.content.prompt": "input",
    "gen_ai.content.completion": "output",
    "data.input": "input",
    "data.output": "output",
}
"""Span event or log event -> the part that it is."""
_DETAILS = "gen_ai.client.inference.operation.details"
_EVENT_METADATA = frozenset(
    {"gen_ai.system", "gen_ai.provider.name", "gen_ai.operation.name", "index", "finish_reason"}
)


_SPOKEN: dict[str, Part] = {
    "input": "input", "prompt": "input", "messages": "input", "output": "output", "completion": "output",
    "content": "output",
}  # fmt: skip
"""What was said on events of any name, where the span is one about models ..."""
_PIECES = ("chunk", "token")
"""... and how names of pieces of it begin, which the whole repeats; of figures, such as ``token_count``, nothing is."""
_PROMPTFLOW = "promptflow."
"""Its events say nothing else, and their names of which side it is: ``promptflow.function.inputs``."""
_ALWAYS_SPOKEN = ("mlflow.chunk.", "gen_ai.event.content")


class EventNames(NamedTuple):
    """What one program's own span events say."""

    mark: str
    """Attribute in which they bear their name a second time; other events are not its own."""
    parts: Mapping[str, Part]
    """Attribute -> the part that it is."""
    kept: tuple[str, ...]
    """How names begin of those that hold nothing of what was said: figures, names, ids."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What was said, and the names under which it was sent."""

    parts: tuple[Content, ...] = ()
    keys: frozenset[str] = frozenset()
    event_keys: frozenset[str] = frozenset()

    def of(self, part: Part) -> str | None:
        """Return the body of *part*."""
        for content in self.parts:
            if content.part == part:
                return content.body
        return None


NOTHING = Contents()


class Place(NamedTuple):
    """Where a part is said."""

    part: Part
    whole: tuple[str, ...]
    """Attributes that each hold all of it."""
    numbered: tuple[str, ...]
    """Attributes that spell it together, such as ``llm.input_messages.0.message.role``."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where spans of one kind have their content."""

    keys: frozenset[str]
    places: tuple[Place, ...]
    of_models: bool = False
    """They are spans about models, as the names of their attributes tell."""
    events: EventNames | None = None
    """How their span events are to be read, where these are a program's own."""

    def contents(self, attributes: Attributes, events: Sequence[SpanEvent] = ()) -> Contents:
        """Return the content among *attributes* and span *events*."""
        said, event_keys = self._of_events(events) if events else ({}, frozenset())
        if not self.keys and not event_keys:
            return NOTHING
        parts = []
        for part, whole, numbered in self.places:
            body = _first_body([attributes[name] for name in whole] + said.pop(part, []))
            if not body and numbered:
                body = body_of(assembled({name: attributes[name] for name in numbered}))
            if body:
                parts.append(Content(part, body))
        for part, values in said.items():
            body = _first_body(values)
            if body:
                parts.append(Content(part, body))
        return Contents(tuple(parts), self.keys, event_keys)

    def _of_events(self, events: Sequence[SpanEvent]) -> tuple[dict[Part, list[AttributeValue]], frozenset[str]]:
        """Return what span *events* say, and the names of their attributes that hold content."""
        found: dict[Part, list[AttributeValue]] = {}
        keys: set[str] = set()
        messages: dict[Part, list[AttributeValue]] = {}
        for event in events:
            if event.name in _EVENTS:
                keys.update(key for key in event.attributes if key not in _EVENT_METADATA)
                messages.setdefault(_EVENTS[event.name], []).append({"event": event.name, **event.attributes})
                continue
            keys.update(key for key in event.attributes if key.startswith(_ALWAYS_SPOKEN))
            for key, value in event.attributes.items():
                is_content, part = self._said_by(event, key, value)
                if is_content:
                    keys.add(key)
                if part is not None:
                    found.setdefault(part, []).append(value)
        for part, said in messages.items():
            found.setdefault(part, []).append(said)
        return found, frozenset(keys)

    def _said_by(self, event: SpanEvent, key: str, value: AttributeValue) -> tuple[bool, Part | None]:
        """Return whether an attribute of *event* holds content, and which part it is."""
        if event.name == _DETAILS:
            part = _NAMES.get(key)
            return part is not None, part
        if event.name.startswith(_PROMPTFLOW):
            return True, _SIDES.get(event.name.rpartition(".")[2])
        if self.events is not None and event.attributes.get(self.events.mark) == event.name:
            return not key.startswith(self.events.kept), self.events.parts.get(key)
        if not self.of_models or isinstance(value, bool | int | float):
            return False, None
        return key in _SPOKEN or key.startswith(_PIECES), _SPOKEN.get(key)


def layout_of(
    names: tuple[str, ...], more: Mapping[str, Part | None] | None = None, events: EventNames | None = None
) -> Layout:
    """Return where spans have their content whose attributes have these *names*.

    *more* names attributes that hold content in one dialect only, *events* those of its span events.
    """
    keys = set()
    found: dict[Part, tuple[list[str], list[str]]] = {}
    of_models = speak_of_models(names)
    bare = speak_of_nothing_else(names)
    for name in names:
        is_content, part = (True, more[name]) if more is not None and name in more else _known_part(name)
        if not is_content and of_models:
            part = _part_of_a_vendor(name, bare=bare)
            is_content = part is not None
        if is_content:
            keys.add(name)
        if part is not None:
            whole, numbered = found.setdefault(part, ([], []))
            (numbered if _INDEXED.search(name) else whole).append(name)
    places = tuple(Place(part, tuple(whole), tuple(numbered)) for part, (whole, numbered) in found.items())
    return Layout(frozenset(keys), places, of_models, events)


@remembered(16_384)
def _known_part(key: str) -> tuple[bool, Part | None]:
    if key in _NAMES:
        return True, _NAMES[key]
    if key in PARAMETERS:
        return True, None
    if _MARKED in key:
        return True, None
    if key not in _NOT_CONTENT:
        for prefix, part in _PREFIXES:
            if key.startswith(prefix):
                return True, part
        if key.startswith("llm.") and _RAW_REQUEST.match(key):
            return True, None
    return False, None


def _part_of_a_vendor(key: str, *, bare: bool) -> Part | None:
    """Return the part that *key* is where its last words are input or output, as those of any vendor are.

    So are ``gen_ai.workflow.input``, ``langwatch.input``, ``lmnr.span.output``, ``braintrust.input_json``,
    ``honeyhive_inputs.question``; no count of tokens is.
    With *bare* they may be its first words too: ``input``.
    """
    if bare and key in _BARE:
        return _BARE[key]
    words = key.replace("_", ".").split(".")
    if not _COUNTED.isdisjoint(words):
        return None
    for place, word in enumerate(words):
        if word not in _SIDES or (place == 0 and not bare):
            continue
        rest = words[place + 1 :]
        if not rest or rest[0] in _WHOLLY or word.endswith("s"):
            return _SIDES[word]
    if _DOCUMENT.match(key):
        return "input"
    return _WHOLE_SIDES.get(words[-1]) if len(words) > 1 else None


def _first_body(values: Iterable[AttributeValue]) -> str:
    """Return the first that is not empty, as text."""
    for found in values:
        body = body_of(found)
        if body:
            return body
    return ""


def body_of(value: AttributeValue) -> str:
    """Return *value* as text: a text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    if value is None or value in ([], {}):
        return ""
    return json.dumps(value, ensure_ascii=False, default=_described)


def _described(value: object) -> str:
    return f"[{len(value)} bytes]" if isinstance(value, bytes) else str(value)


def assembled(attributes: Mapping[str, AttributeValue]) -> list[Any]:
    """Return the list that keys such as ``llm.input_messages.0.message.role`` spell out."""
    root: dict[Any, Any] = {}
    for key, value in attributes.items():
        match = _INDEXED.search(key)
        if match is None:
            continue
        steps: list[str] = [match[1], *key[match.end() :].split(".")]
        _place(root, [step for step in steps if step], value)
    found = _lists(root)
    return found if isinstance(found, list) else [found]


def _place(node: dict[Any, Any], steps: list[str], value: AttributeValue) -> None:
    for step in steps[:-1]:
        inner = node.setdefault(step, {})
        if not isinstance(inner, dict):
            return
        node = inner
    node.setdefault(steps[-1], value)


def _lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    inner = {key: _lists(value) for key, value in node.items()}
    if set(inner) == {"message"}:
        return inner["message"]
    if inner and all(key.isdecimal() for key in inner):
        return [inner[key] for key in sorted(inner, key=int)]
    return inner


def event_part(name: str) -> Part | None:
    """Return the part that the body of the log event *name* is; None where it is none."""
    return _EVENTS.get(name)
