"""What is a node while it runs? A span in the GenAI conventions, and the context that its code runs in."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from opentelemetry.context import Context, attach, create_key, detach, get_current, get_value, set_value
from opentelemetry.util.genai.invocation import (
    CLIENT_EMBEDDING_CONTEXT_KEY,
    CLIENT_INFERENCE_CONTEXT_KEY,
    CLIENT_RETRIEVAL_CONTEXT_KEY,
    EmbeddingInvocation,
    InferenceData,
    InferenceInvocation,
    LocalAgentInvocation,
    RetrievalInvocation,
    ToolInvocation,
    WorkflowInvocation,
)

from otel_obs.instrumentation.context import FIELDS, RunContext, id_of
from otel_obs.instrumentation.faults import warn_once
from otel_obs.instrumentation.guardrails import NOTHING_FOUND, GuardrailInvocation
from otel_obs.instrumentation.paths import first
from otel_obs.instrumentation.propagation import current_run, entered
from otel_obs.instrumentation.requests import Embeddings, Requests
from otel_obs.instrumentation.response import UNKNOWN, Response
from otel_obs.instrumentation.spec import Kind, Spec
from otel_obs.instrumentation.telemetry import handler
from otel_obs.instrumentation.workspaces import workspace_of
from otel_obs.semconv import NODE_ID, NODE_NAME

Invocation = (
    WorkflowInvocation
    | LocalAgentInvocation
    | InferenceInvocation
    | EmbeddingInvocation
    | RetrievalInvocation
    | ToolInvocation
    | GuardrailInvocation
)

_KEY = create_key("otel_obs-node")
_ALSO_CALLED = {"run_id": ("execution_id",), "conversation_id": ("session_id",)}
"""Names under which arguments of a workflow hold its ids, beside those of the fields."""

_ARE_CALLED = frozenset((*FIELDS, *(name for names in _ALSO_CALLED.values() for name in names)))

Call = Mapping[str, Any]
"""What paths start at: ``args`` (by name), ``self``, and once there is one ``result``."""


class Node:
    """One call of an executor, from its start to its end."""

    __slots__ = (
        "agent_name", "call", "context", "cost_usd", "embeddings", "given", "invocation", "is_open", "is_recording",
        "is_suppressed", "kind", "name", "noted", "output", "parent", "requests", "run", "spec", "told_before",
        "verdict",
    )  # fmt: skip

    def __init__(
        self,
        spec: Spec,
        name: str,
        call: Call,
        run: RunContext,
        invocation: Invocation,
        parent: Node | None,
    ) -> None:
        self.spec = spec
        self.kind: Kind = spec.kind
        self.name = name
        self.call = call
        self.run = run
        self.invocation = invocation
        self.parent = parent
        self.agent_name: str | None = name if spec.kind == "agent" else parent.agent_name if parent else None
        self.is_recording = invocation.span.is_recording()
        self.is_suppressed = False
        self.is_open = True
        self.requests: Requests | None = None
        self.told_before = 0
        self.embeddings: Embeddings | None = None
        self.noted: dict[str, Any] = {}
        """What chunks of a stream said, field by field."""
        self.given: Response = UNKNOWN
        """What the application said itself."""
        self.cost_usd: float | None = None
        self.output: Any = None
        self.verdict = NOTHING_FOUND
        self.context: Context = invocation.context

    def after(self, field: str, call: Call) -> Any:
        """Return what the end of *call* says of *field*, else what a chunk on the way has said."""
        found = first(self.spec.where(field), call)
        return self.noted.get(field) if found is None else found

    def note(self, chunk: Any) -> None:
        """Take note of what *chunk* of a stream says where the result was expected to say it."""
        for field, places in self.spec.of_result:
            found = first(places, {"result": chunk})
            if found is not None:
                self.noted[field] = found

    def active(self) -> Active:
        """Return a block in which this node is the current one."""
        return Active(self.context)


class Active:
    """A block that runs in a context of its own."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: Context) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token = attach(self._context)

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        if kind is GeneratorExit and get_current() is not self._context:
            # A coroutine that nobody goes on with is closed from wherever the garbage collector runs.
            return
        detach(self._token)


def current_node() -> Node | None:
    """Return the node that this code runs in; None outside of all."""
    found = get_value(_KEY)
    return found if isinstance(found, Node) else None


def nearest(*kinds: Kind) -> Node | None:
    """Return the innermost node of one of *kinds* that this code runs in."""
    node = current_node()
    while node is not None and node.kind not in kinds:
        node = node.parent
    return node


def open_node(spec: Spec, default_name: str, call: Call) -> Node:
    """Start the span of a node; its context is not yet the current one."""
    parent = current_node()
    name = _text(spec, "name", call)
    run = run_of(spec, name or default_name, call, parent)
    context = get_current() if parent is not None and run is parent.run else entered(run)
    invocation = _started(spec, name or default_name, call, run, context, parent)
    # The node's context is entered and left around each step of its code, so that generators work.
    invocation.suspend()
    node = Node(spec, name or default_name, call, run, invocation, parent)
    node.context = set_value(_KEY, node, _below(node, context))
    if node.is_recording:
        node_id = id_of(first(spec.where("id"), call))
        attributes = {**run.attributes(), NODE_ID: node_id, NODE_NAME: node.name if spec.kind in _UNNAMED else None}
        if spec.kind == "workflow":
            del attributes[NODE_ID]
        known = {key: value for key, value in attributes.items() if value is not None}
        if known and not node.is_suppressed:
            invocation.span.set_attributes(known)
    return node


_UNNAMED = ("llm", "embedding", "retrieval")
"""Kinds whose span is named after the model, or what is searched."""


_SUPPRESSED_BY: dict[Kind, str] = {
    "llm": CLIENT_INFERENCE_CONTEXT_KEY,
    "embedding": CLIENT_EMBEDDING_CONTEXT_KEY,
    "retrieval": CLIENT_RETRIEVAL_CONTEXT_KEY,
}
"""Where the convention's invocations note that one is going on; one inside it has no span of its own."""


def _below(node: Node, around: Context) -> Context:
    """Return the context of what *node*, started in *around*, calls: who hears of the requests made there."""
    context = node.invocation.context
    key = _SUPPRESSED_BY.get(node.kind)
    if key is not None:
        above = get_value(key, around)
        node.is_suppressed = above is not None
        if node.is_suppressed:
            if isinstance(above, Requests):
                node.requests, node.told_before = above, len(above.told)
            return context
    if node.kind == "llm":
        node.requests = Requests()
        return set_value(CLIENT_INFERENCE_CONTEXT_KEY, node.requests, context)
    if node.kind == "embedding":
        node.embeddings = Embeddings()
        return set_value(CLIENT_EMBEDDING_CONTEXT_KEY, node.embeddings, context)
    if isinstance(get_value(CLIENT_INFERENCE_CONTEXT_KEY, context), InferenceData):
        # A tool that a model node runs asks models on its own account.
        return set_value(CLIENT_INFERENCE_CONTEXT_KEY, None, context)
    return context


def run_of(spec: Spec, name: str, call: Call, parent: Node | None) -> RunContext:
    """Return for whom a node works: what the call says, else the run around it, else what the host knows."""
    around = parent.run if parent is not None else current_run()
    is_workflow = spec.kind == "workflow"
    ids = _ids(spec, call, by_name=is_workflow or parent is None)
    if is_workflow:
        ids.setdefault("workflow_id", id_of(first(spec.where("id"), call)) or name)
        ids.setdefault("run_id", uuid.uuid4().hex)
    run = around.with_ids(ids)
    if run.workspace_id is None and run.workflow_id is not None and (is_workflow or parent is None):
        workspace_id = workspace_of(run.workflow_id, run.organization_id)
        if workspace_id is not None:
            run = run.with_ids({"workspace_id": workspace_id})
    return run


def _ids(spec: Spec, call: Call, *, by_name: bool) -> dict[str, str]:
    if spec.fields.keys().isdisjoint(FIELDS) and not (by_name and _ARE_CALLED & call.get("args", {}).keys()):
        return {}
    return {field: found for field in FIELDS if (found := _id(spec, field, call, by_name=by_name)) is not None}


def _id(spec: Spec, field: str, call: Call, *, by_name: bool) -> str | None:
    value: Any = first(spec.where(field), call)
    if value is None and by_name:
        arguments: Mapping[str, Any] = call.get("args", {})
        names = (field, *_ALSO_CALLED.get(field, ()))
        value = next((found for name in names if (found := arguments.get(name)) is not None), None)
    found = id_of(value)
    if found is None and value is not None:
        warn_once(f"id:{field}", "otel_obs leaves out a %s that is no id: a text of up to 200 bytes is expected", field)
    return found


def _started(spec: Spec, name: str, call: Call, run: RunContext, context: Context, parent: Node | None) -> Invocation:
    genai = handler()
    match spec.kind:
        case "workflow":
            return genai.workflow(name, context=context, conversation_id=run.conversation_id)
        case "agent":
            found = genai.invoke_local_agent(
                agent_name=name,
                request_model=_text(spec, "model", call),
                context=context,
                conversation_id=run.conversation_id,
            )
            found.agent_description = _text(spec, "description", call)
            return found
        case "llm":
            model = _text(spec, "model", call) or _argument(call, "model")
            return genai.inference(
                _provider(spec, call, model),
                request_model=model,
                operation_name=_text(spec, "operation", call),
                context=context,
                conversation_id=run.conversation_id,
            )
        case "embedding":
            model = _text(spec, "model", call) or _argument(call, "model")
            return genai.embedding(_provider(spec, call, model), request_model=model, context=context)
        case "retrieval":
            return genai.retrieval(data_source_id=name, context=context)
        case "tool":
            tool = genai.tool(
                name, tool_type="function", agent_name=parent.agent_name if parent else None, context=context
            )
            tool.tool_call_id = _text(spec, "tool_call_id", call) or _argument(call, "tool_call_id")
            tool.tool_description = _text(spec, "description", call)
            return tool
        case "guardrail":
            return GuardrailInvocation(name, context)


def _text(spec: Spec, field: str, call: Call) -> str | None:
    value = first(spec.where(field), call)
    return value if isinstance(value, str) and value else id_of(value)


def _argument(call: Call, name: str) -> str | None:
    value = call.get("args", {}).get(name)
    return value if isinstance(value, str) and value else None


_FAMILIES = (
    (("gpt-", "o1", "o3", "o4", "chatgpt", "text-embedding-", "openai/"), "openai"),
    (("claude", "anthropic/"), "anthropic"),
    (("gemini", "google/"), "gcp.gemini"),
    (("mistral", "codestral", "magistral"), "mistral_ai"),
    (("deepseek",), "deepseek"),
    (("grok", "xai/"), "x_ai"),
    (("command", "cohere/"), "cohere"),
)


def _provider(spec: Spec, call: Call, model: str | None) -> str:
    """Return who serves *model*: as it was said, else as its name shows.

    The convention's invocations take None for what is not known yet, although their types do not say so.
    """
    said = _text(spec, "provider", call) or _argument(call, "provider")
    return said or provider_of(model)  # type: ignore[return-value]


def provider_of(model: str | None) -> str | None:
    """Return who makes a model of this name, as ``gen_ai.provider.name`` has it; None if the name does not show."""
    name = (model or "").lower()
    return next((provider for prefixes, provider in _FAMILIES if name.startswith(prefixes)), None)
