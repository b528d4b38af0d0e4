"""``instrumentation``: what would be reported here, for people and for scripts."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from otel_obs.instrumentation.configuration import VARIABLE, configuration
from otel_obs.instrumentation.report import ExecutorReport, Report, report


def _call(_: click.Context, __: click.Parameter, value: str | None) -> dict[str, Any] | None:
    if value is None:
        return None
    try:
        call = json.loads(value)
    except ValueError as error:
        raise click.BadParameter(f"no JSON: {error}") from None
    if (
        not isinstance(call, dict)
        or not isinstance(call.get("args", {}), dict)
        or call.keys() - {"args", "self", "result"}
    ):
        raise click.BadParameter('{"args": {...}, "self": ..., "result": ...} is expected')
    return call


@click.command()
@click.argument("target", required=False)
@click.option("--call", callback=_call, metavar="JSON", help='A sample: {"args": {...}, "self": ..., "result": ...}.')
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def instrumentation(target: str | None, call: dict[str, Any] | None, as_json: bool) -> None:
    """Show what would be reported here: executors, configuration, and the span of a sample call.

    TARGET is one of the executors; without it all are shown. Their modules are imported. Leaves with 1 if something
    that is configured is wrong or not found.
    """
    folder = Path.cwd()
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    found = report(configuration(os.environ, folder), only=target, call=call)
    click.echo(json.dumps(found.as_object()) if as_json else "\n".join(_lines(found)))
    if not found.is_right:
        sys.exit(1)


def _lines(found: Report) -> Iterator[str]:
    """Yield *found* as people get it."""
    if found.configuration is None and not found.problems:
        yield f"Nothing is configured: {VARIABLE}, otel_obs.toml, or [tool.otel_obs] of pyproject.toml names executors."
        return
    yield f"configuration  {found.configuration}"
    yield f"content        {found.content.replace('_', ' ')}"
    yield f"threads        the context {'goes' if found.threads else 'does not go'} into threads and pools"
    yield f"baggage        sends {', '.join(found.send_baggage) or 'nothing'}"
    yield f"               believes {', '.join(found.believe_baggage) or 'nothing'}"
    yield f"workspaces     {found.workspace_resolver or 'of the table workflows'}"
    yield f"prices         {found.price or 'none'}"
    for problem in found.problems:
        yield f"wrong          {problem}"
    for executor in found.executors:
        yield ""
        yield from _executor(executor)


def _executor(executor: ExecutorReport) -> Iterator[str]:
    yield f"{executor.kind}  {executor.found if executor.state == 'wrapped' else executor.target}"
    if executor.state != "wrapped":
        yield f"    wrong: {executor.found}"
        return
    for found in executor.fields:
        value = "nothing" if found.value is None else json.dumps(found.value, ensure_ascii=False)
        yield f"    {found.field:<16} {' or '.join(found.places):<32} {value}"
    if executor.span is not None:
        yield f"    span {executor.span.name}"
        for name, value in executor.span.attributes.items():
            yield f"        {name} = {json.dumps(value, ensure_ascii=False)}"
