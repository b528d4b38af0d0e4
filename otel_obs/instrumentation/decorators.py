"""How does an author say that a function is a node? One line above it, or one line around the code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar, cast, overload

from typing_extensions import ParamSpec, Self, TypedDict, Unpack

from otel_obs.instrumentation.closing import close
from otel_obs.instrumentation.faults import Guarded
from otel_obs.instrumentation.node import Active, Node, current_node, open_node
from otel_obs.instrumentation.spec import Kind, Spec, spec
from otel_obs.instrumentation.wrapping import reported

P = ParamSpec("P")
R = TypeVar("R")

Value = str | Sequence[str] | None
"""A text that stands for itself, a path (``args.node.id``, see ``paths``), or several, of which the first counts."""


class Options(TypedDict, total=False):
    """What may be said of any node."""

    id: Value
    organization_id: Value
    workspace_id: Value
    user_id: Value
    workflow_id: Value
    run_id: Value
    conversation_id: Value
    input: Value
    output: Value


class AgentOptions(Options, total=False):
    """What may be said of an agent."""

    description: Value
    model: Value


class ModelOptions(Options, total=False):
    """What may be said of a request to a model."""

    model: Value
    provider: Value
    operation: Value
    response: Value
    usage: Value
    response_model: Value
    response_id: Value
    finish_reason: Value


class ToolOptions(Options, total=False):
    """What may be said of a tool."""

    description: Value
    tool_call_id: Value


class GuardrailOptions(Options, total=False):
    """What may be said of a guardrail."""

    score: Value
    reference: Value
    action: Value


class NodeBlock:
    """A node to be: a decorator of functions, and a block (``with`` or ``async with``)."""

    def __init__(self, kind: Kind, name: str | None, options: dict[str, Any]) -> None:
        self._spec: Spec = spec(kind, {"name": name, **options}, pass_workspace=True)
        self._default_name = name or kind
        self._open: dict[Node, Active] = {}

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return *function* so that each call of it is a node."""
        return cast("Callable[P, R]", reported(self._spec, function))

    def __enter__(self) -> Self:
        with Guarded(f"starting the span of {self._default_name}"):
            node = open_node(self._spec, self._default_name, {"args": {}})
            active = node.active()
            active.__enter__()
            self._open[node] = active
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with Guarded(f"ending the span of {self._default_name}"):
            node = current_node()
            active = self._open.pop(node, None) if node is not None else None
            if active is None and self._open:
                # Left in another context than the one it was entered in.
                node, active = self._open.popitem()
            if node is not None and active is not None:
                active.__exit__(kind, error, traceback)
                close(node, error=error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


@overload
def workflow(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def workflow(name: str | None = None, /, **options: Unpack[Options]) -> NodeBlock: ...
def workflow(target: Callable[P, R] | str | None = None, /, **options: Unpack[Options]) -> Callable[P, R] | NodeBlock:
    """Report a workflow: the run that everything it calls belongs to.

    Arguments called ``workspace_id``, ``organization_id``, ``user_id``, ``run_id`` (or ``execution_id``) and
    ``conversation_id`` (or ``session_id``) are found by themselves; a workspace that nobody names is asked of the
    resolver (``set_workspace_resolver``). Parameters ``workspace_id`` that are None are given it, here and below.
    """
    return _node("workflow", target, dict(options))


@overload
def agent(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def agent(name: str | None = None, /, **options: Unpack[AgentOptions]) -> NodeBlock: ...
def agent(target: Callable[P, R] | str | None = None, /, **options: Unpack[AgentOptions]) -> Callable[P, R] | NodeBlock:
    """Report an agent's run."""
    return _node("agent", target, dict(options))


@overload
def llm(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def llm(name: str | None = None, /, **options: Unpack[ModelOptions]) -> NodeBlock: ...
def llm(target: Callable[P, R] | str | None = None, /, **options: Unpack[ModelOptions]) -> Callable[P, R] | NodeBlock:
    """Report one request to a model.

    Answers of OpenAI, Anthropic, Google, LiteLLM and LangChain are understood, whole or streamed; for others say
    ``set_usage``.
    """
    return _node("llm", target, dict(options))


@overload
def embedding(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def embedding(name: str | None = None, /, **options: Unpack[ModelOptions]) -> NodeBlock: ...
def embedding(
    target: Callable[P, R] | str | None = None, /, **options: Unpack[ModelOptions]
) -> Callable[P, R] | NodeBlock:
    """Report one request for embeddings."""
    return _node("embedding", target, dict(options))


@overload
def retrieval(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def retrieval(name: str | None = None, /, **options: Unpack[Options]) -> NodeBlock: ...
def retrieval(target: Callable[P, R] | str | None = None, /, **options: Unpack[Options]) -> Callable[P, R] | NodeBlock:
    """Report a search for documents."""
    return _node("retrieval", target, dict(options))


@overload
def tool(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def tool(name: str | None = None, /, **options: Unpack[ToolOptions]) -> NodeBlock: ...
def tool(target: Callable[P, R] | str | None = None, /, **options: Unpack[ToolOptions]) -> Callable[P, R] | NodeBlock:
    """Report a tool that an agent or a model uses."""
    return _node("tool", target, dict(options))


@overload
def guardrail(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def guardrail(name: str | None = None, /, **options: Unpack[GuardrailOptions]) -> NodeBlock: ...
def guardrail(
    target: Callable[P, R] | str | None = None, /, **options: Unpack[GuardrailOptions]
) -> Callable[P, R] | NodeBlock:
    """Report a guardrail: what it returns is its verdict, or it says ``record_guardrail``."""
    return _node("guardrail", target, dict(options))


def _node(kind: Kind, target: Callable[P, R] | str | None, options: dict[str, Any]) -> Callable[P, R] | NodeBlock:
    if target is None or isinstance(target, str):
        return NodeBlock(kind, target, options)
    return NodeBlock(kind, None, options)(target)
