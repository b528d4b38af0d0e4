"""Which executors are to be reported? A TOML file says it: ``OTEL_OBS_EXECUTORS``, else ``[tool.otel_obs]`` in the
``pyproject.toml`` of the working directory.

What is wrong with one executor is told, and the others are reported all the same.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otel_obs.errors import ConfigurationError
from otel_obs.instrumentation.spec import Spec, spec
from otel_obs.settings import PREFIX

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

VARIABLE = f"{PREFIX}EXECUTORS"
SECTIONS = ("executors", "send_baggage", "believe_baggage", "price", "workspace_resolver", "threads")


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """One function or method that is to be reported."""

    target: str
    """``package.module:Class.method``, ``package.module:function``, or the same with dots alone."""
    spec: Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What a TOML file says."""

    path: Path | None = None
    """Where it was read; None: there is none."""
    executors: tuple[Executor, ...] = ()
    send_baggage: tuple[str, ...] | None = None
    """Attributes whose values go into the baggage; None: all of ours."""
    believe_baggage: tuple[str, ...] = ()
    """Attributes whose values are believed when they come in as baggage."""
    price: str | None = None
    """``module:callable`` that says what a call costs (``costs.Price``)."""
    workspace_resolver: str | None = None
    """``module:callable`` that says to which workspace a workflow belongs."""
    threads: bool = True
    """The context goes into threads and pools by itself."""
    problems: tuple[str, ...] = ()
    """What could not be used, each in a sentence."""


def configuration(environ: Mapping[str, str], folder: Path) -> Configuration:
    """Return what is configured for a program that runs in *folder*; what is wrong is in ``problems``."""
    named = environ.get(VARIABLE)
    path = folder / (named or "pyproject.toml")
    if not named and not path.is_file():
        return Configuration()
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except (OSError, ValueError) as error:
        problem = f"{path}: {error}"
        return Configuration(path=path, problems=(problem,)) if named else Configuration()
    if path.name == "pyproject.toml":
        tools = content.get("tool", {})
        if "otel_obs" not in tools:
            return Configuration()
        content = tools["otel_obs"]
    return configured(content, path)


def configured(content: Mapping[str, Any], path: Path) -> Configuration:
    """Return what *content*, read from *path*, says."""
    problems = [f"{path}: {name!r} is none of {', '.join(SECTIONS)}" for name in content if name not in SECTIONS]
    executors = []
    entries = content.get("executors", [])
    for entry in entries if isinstance(entries, list) else [entries]:
        try:
            executors.append(_executor(entry))
        except ConfigurationError as error:
            problems.append(f"{path}: {error}")
    return Configuration(
        path=path,
        executors=tuple(executors),
        send_baggage=_names(content, "send_baggage", problems),
        believe_baggage=_names(content, "believe_baggage", problems) or (),
        price=_text(content, "price", problems),
        workspace_resolver=_text(content, "workspace_resolver", problems),
        threads=content.get("threads", True) is not False,
        problems=tuple(problems),
    )


def _executor(entry: Any) -> Executor:
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"executors: a table with target and kind is expected, not {entry!r}")
    fields = dict(entry)
    target, kind = fields.pop("target", None), fields.pop("kind", None)
    pass_workspace = fields.pop("pass_workspace", False) is True
    if not isinstance(target, str) or not target.replace(":", ".").replace(".", "").isidentifier():
        raise ConfigurationError(f"target = {target!r}: package.module:Class.method is expected")
    try:
        return Executor(target=target, spec=spec(str(kind), fields, pass_workspace=pass_workspace))
    except ConfigurationError as error:
        raise ConfigurationError(f"{target}: {error}") from None


def _names(content: Mapping[str, Any], name: str, problems: list[str]) -> tuple[str, ...] | None:
    value = content.get(name)
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    problems.append(f"{name} = {value!r}: a list of names is expected")
    return None


def _text(content: Mapping[str, Any], name: str, problems: list[str]) -> str | None:
    value = content.get(name)
    if value is None or isinstance(value, str):
        return value
    problems.append(f"{name} = {value!r}: module:callable is expected")
    return None
