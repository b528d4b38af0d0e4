"""Which executors are to be reported?

``OTEL_OBS_EXECUTORS`` names a TOML file, or holds the executors themselves (``engine:Engine.run=workflow,
engine:ask=llm``, or JSON); without it ``otel_obs.toml`` of the working directory says it, or ``[tool.otel_obs]`` of
its ``pyproject.toml``. What is wrong with one executor is told, and the others are reported all the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otel_obs.errors import ConfigurationError
from otel_obs.instrumentation.spec import KINDS, Spec, spec
from otel_obs.settings import PREFIX

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

VARIABLE = f"{PREFIX}EXECUTORS"
FILE = "otel_obs.toml"
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
    """Where it was read (or the variable that holds it); None: there is none."""
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
    named = environ.get(VARIABLE, "").strip()
    if named and not named.endswith(".toml") and not (folder / named).is_file():
        return _inline(named)
    if named:
        return _read(folder / named)
    if (folder / FILE).is_file():
        return _read(folder / FILE)
    project = folder / "pyproject.toml"
    return _read(project) if project.is_file() else Configuration()


def _read(path: Path) -> Configuration:
    is_project = path.name == "pyproject.toml"
    try:
        with path.open("rb") as file:
            content: Any = tomllib.load(file)
    except (OSError, ValueError) as error:
        # Somebody else's pyproject.toml may be broken for all we care.
        return Configuration() if is_project else Configuration(path=path, problems=(f"{path}: {error}",))
    if is_project:
        tools = content.get("tool")
        content = tools.get("otel_obs") if isinstance(tools, dict) else None
        if content is None:
            return Configuration()
    if not isinstance(content, dict):
        return Configuration(path=path, problems=(f"{path}: [tool.otel_obs] is no table",))
    return configured(content, path)


def _inline(text: str) -> Configuration:
    """Return what *text*, the variable itself, says: JSON, or ``target=kind`` with commas between."""
    if text[0] in "[{":
        try:
            content = json.loads(text)
        except ValueError as error:
            return Configuration(problems=(f"{VARIABLE}: {error}",))
        if isinstance(content, list) or "target" in content:
            content = {"executors": content}
        return configured(content, VARIABLE)
    entries = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        target, _, kind = (side.strip() for side in part.partition("="))
        entries.append({"target": kind, "kind": target} if target in KINDS else {"target": target, "kind": kind})
    return configured({"executors": entries}, VARIABLE)


def configured(content: Mapping[str, Any], path: Path | str) -> Configuration:
    """Return what *content*, read from *path*, says."""
    problems = [f"{path}: {name!r} is none of {', '.join(SECTIONS)}" for name in content if name not in SECTIONS]
    executors = []
    entries = content.get("executors", [])
    for entry in entries if isinstance(entries, list) else [entries]:
        try:
            executors.append(_executor(entry))
        except ConfigurationError as error:  # noqa: PERF203  # each executor stands for itself
            problems.append(f"{path}: {error}")
    return Configuration(
        path=Path(path),
        executors=tuple(executors),
        send_baggage=_names(content, "send_baggage", path, problems),
        believe_baggage=_names(content, "believe_baggage", path, problems) or (),
        price=_text(content, "price", path, problems),
        workspace_resolver=_text(content, "workspace_resolver", path, problems),
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


def _names(content: Mapping[str, Any], name: str, path: Path | str, problems: list[str]) -> tuple[str, ...] | None:
    value = content.get(name)
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    problems.append(f"{path}: {name} = {value!r}: a list of names is expected")
    return None


def _text(content: Mapping[str, Any], name: str, path: Path | str, problems: list[str]) -> str | None:
    value = content.get(name)
    if value is None or isinstance(value, str):
        return value
    problems.append(f"{path}: {name} = {value!r}: module:callable is expected")
    return None
