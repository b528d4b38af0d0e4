"""``demo``: a workflow of agents, run against a stand-in of its model providers, and what it cost."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import psycopg
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from otel_obs.analytics.costs import costs as costs_of
from otel_obs.analytics.traces import Node, Verdict, newest_trace, nodes, verdicts
from otel_obs.cli.costs import as_table, money, number
from otel_obs.cli.options import console_for_people, database, database_options, settings_from
from otel_obs.cli.running import stop_signals
from otel_obs.errors import ConfigurationError
from otel_obs.postgres import schema
from otel_obs.postgres.pool import conninfo, translated, uri_with_search_path
from otel_obs.postgres.queries import load
from otel_obs.postgres.scratch import scratch_database
from otel_obs.server import Gateway, Listening
from otel_obs.settings import Settings
from otel_obs.web.server import ApiServer

ORGANIZATION = "acme"
_QUESTION = load("demo")["question"].strip()


@click.command()
@click.option("--serve", is_flag=True, help="Afterwards keep the dashboard, PostgreSQL and OTLP up until Ctrl-C.")
@database_options
def demo(serve: bool, **options: str | None) -> int:
    """Run an example workflow through OTLP, and show what each step cost."""
    console = console_for_people()
    with _place(settings_from(**options)) as (settings, url):
        schema.migrate(url)
        # On loopback, for this run: the example has no authority to trust.
        gateway = Gateway(replace(settings, tls_cert_file=None, tls_key_file=None, tls_client_ca_file=None), url)
        listening = gateway.start()
        try:
            console.print("[bold]A support ticket[/] is triaged, researched, answered and checked by agents ...")
            answer, served = _run_workflow(listening)
            gateway.settle_all()
            with translated(), psycopg.connect(conninfo(url)) as connection:
                agrees = _show(console, connection, answer, served)
            _say_what_next(console)
            if serve:
                _serve(console, settings, listening, url)
        finally:
            gateway.stop()
    return 0 if agrees else 1


@contextmanager
def _place(settings: Settings) -> Iterator[tuple[Settings, str]]:
    """Give settings and a database for this run only."""
    folder = Path(tempfile.mkdtemp(prefix="otel_obs-"))
    folder.chmod(0o711)
    own = settings_from(
        data_dir=str(folder),
        database_url=settings.database_url,
        grpc="127.0.0.1:0",
        http="127.0.0.1:0",
        api="127.0.0.1:0",
    )
    try:
        if settings.database_url is not None:
            with scratch_database(settings.database_url) as url:
                yield own, url
        else:
            with database(own) as url:
                yield own, url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _example(name: str) -> ModuleType:
    """Return an example: part of the installed package, or of the repository that it is run from."""
    try:
        return importlib.import_module(f"otel_obs.examples.{name}")
    except ModuleNotFoundError:
        root = str(Path(__file__).resolve().parents[2])
        if root not in sys.path:
            sys.path.append(root)
    try:
        return importlib.import_module(f"examples.{name}")
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"the demo needs {error.name}: install otel-obs[demo]") from None


def _run_workflow(listening: Listening) -> tuple[str, list[Any]]:
    """Return the workflow's answer, and what its model providers served."""
    from opentelemetry import trace  # noqa: PLC0415  # other commands need none of these
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    # The instrumentations leave prompts and answers out unless they are asked for them.
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental")
    os.environ.setdefault("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "span_only")
    provider_module, workflow = _example("provider"), _example("support_ticket")
    tracing = TracerProvider(resource=Resource.create(workflow.RESOURCE))
    exporter = OTLPSpanExporter(endpoint=f"http://{listening.http}/v1/traces")
    tracing.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(tracing)
    workflow.instrument()
    with provider_module.StandIn() as models:
        answer: str = workflow.run(models.openai_base_url, models.anthropic_base_url)
        served = list(models.served)
    tracing.shutdown()
    workflow.uninstrument()
    return answer, served


def _show(console: Console, connection: psycopg.Connection, answer: str, served: list[Any]) -> bool:
    """Print the account; return whether it agrees with what the providers served."""
    trace_id = newest_trace(connection, ORGANIZATION)
    if trace_id is None:
        console.print("[red]no trace arrived[/]")
        return False
    found = nodes(connection, ORGANIZATION, trace_id)
    console.print(f"\n[dim]Its answer:[/] {answer}\n")
    console.print(_tree(found))
    console.print()
    console.print(_calls(found))
    console.print("[dim]A dash: the provider's answer, or whoever reported it, does not say.[/]\n")
    for title, key in (("by model", "model"), ("by agent", "agent")):
        table = as_table(costs_of(connection, [key], organization_id=ORGANIZATION))
        table.title = f"Costs {title}"
        console.print(table)
    _show_verdicts(console, verdicts(connection, ORGANIZATION, trace_id))
    console.print("\n[bold]The same in SQL[/]")
    console.print(_QUESTION, style="cyan", highlight=False)
    console.print(_answer(connection))
    return _compare(console, found, served)


def _tree(found: Sequence[Node]) -> Tree:
    """Return the spans as a tree; reports of calls that are counted elsewhere are left out."""
    shown = [node for node in found if node.cost_state != "duplicate"]
    parents = {node.span_id: node.parent_span_id for node in found}
    ids = {node.span_id for node in shown}
    trunk = Tree("[bold]What happened[/]")
    branches: dict[str, Tree] = {}
    for node in shown:
        above = node.parent_span_id
        while above is not None and above not in ids:
            above = parents.get(above)
        branches[node.span_id] = branches.get(above or "", trunk).add(_label(node))
    return trunk


def _label(node: Node) -> Text:
    label = Text(f"{node.event_type:<10}", style="dim")
    label.append(node.model_name or node.name, style="bold red" if node.status == "error" else "bold")
    if node.status == "error":
        label.append("  failed", style="red")
    if node.latency_ms is not None:
        label.append(f"  {node.latency_ms:,.0f} ms", style="dim")
    if node.cost_cents is not None:
        output = "" if node.output_tokens is None else f", {number(node.output_tokens)} out"
        label.append(f"  {number(node.input_tokens)} in{output}", style="dim")
        label.append(f"  {money(node.cost_cents)}", style="green")
    return label


def _calls(found: Sequence[Node]) -> Table:
    table = Table(title="Each call", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("agent", overflow="fold")
    table.add_column("model", overflow="fold")
    for column in ("input", "cache read", "cache write", "output", "reasoning", "cost"):
        table.add_column(column, justify="right", no_wrap=True)
    for node in found:
        if node.model_name is not None:
            table.add_row(
                node.agent_id or "-",
                node.model_name,
                number(node.input_tokens),
                number(node.cache_read_tokens),
                number(node.cache_write_tokens),
                number(node.output_tokens),
                number(node.reasoning_tokens),
                money(node.cost_cents),
            )
    return table


def _show_verdicts(console: Console, found: Sequence[Verdict]) -> None:
    for verdict in found:
        console.print(
            f"guardrail [bold]{verdict.guardrail_name}[/]: {verdict.action_taken} "
            f"(similarity {verdict.similarity_score})"
        )


def _answer(connection: psycopg.Connection) -> Table:
    cursor = connection.execute(load("demo")["question"])
    table = Table(box=SIMPLE_HEAD)
    for column in cursor.description or ():
        table.add_column(column.name)
    for row in cursor.fetchall():
        table.add_row(*("-" if value is None else str(value) for value in row))
    return table


def _compare(console: Console, found: Sequence[Node], served: list[Any]) -> bool:
    """Say how many reports were one call, and whether tokens are those that the providers served."""
    counted = [node for node in found if node.model_name is not None]
    again = sum(node.cost_state == "duplicate" for node in found)
    billed = sorted((item.input_tokens, item.output_tokens) for item in served)
    stored = sorted((node.input_tokens or 0, node.output_tokens or 0) for node in counted)
    agrees = billed == stored
    console.print(
        f"\n{len(counted) + again} reports of calls arrived, {again} of them told a call for the second time; "
        f"the providers served {len(served)} calls: "
        + ("[green]every token is accounted for, once[/]" if agrees else "[red]the bill differs[/]")
    )
    return agrees


def _say_what_next(console: Console) -> None:
    console.print(
        "\n[dim]This was a database of its own, gone now. To keep rows: [/]otel-obs up[dim], "
        "then send OpenTelemetry to http://127.0.0.1:4318[/]"
    )


def _serve(console: Console, settings: Settings, listening: Listening, url: str) -> None:
    api = ApiServer(settings, url)
    api.otlp = (listening.grpc, listening.http)
    with stop_signals() as stop:
        try:
            where = api.start()
            console.print(f"\nready grpc={listening.grpc} http={listening.http} api={where}")
            console.print(f"dashboard: [bold]http://{where}/?organization_id={ORGANIZATION}[/]", soft_wrap=True)
            console.print(f"rows: {uri_with_search_path(url)}", soft_wrap=True)
            stop.wait()
        finally:
            api.stop()
