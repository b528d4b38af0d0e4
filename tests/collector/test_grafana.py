"""The dashboards of collector/grafana: each panel's SQL against rows, as the login that Grafana gets."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import psycopg
import pytest
import yaml
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import StatusCode, Tracer
from psycopg import sql
from psycopg.conninfo import make_conninfo

from otel_obs.postgres.pool import conninfo
from otel_obs.server import Gateway
from otel_obs.settings import Settings
from tests.command import ROOT, run
from tests.fix_postgres import new_database
from tests.sending import MODEL, Told

GRAFANA = ROOT / "collector" / "grafana"
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}
PANELS = [(board, panel["title"]) for board in BOARDS for panel in BOARDS[board]["panels"]]


def panel(board: str, title: str) -> dict[str, Any]:
    (found,) = [panel for panel in BOARDS[board]["panels"] if panel["title"] == title]
    return dict(found)


@dataclass(frozen=True)
class Grafana:
    """What Grafana's PostgreSQL data source does with a panel's SQL, for one login."""

    uri: str

    def query(self, text: str, organizations: tuple[str, ...] = ("acme",)) -> tuple[list[str], list[tuple[Any, ...]]]:
        now = datetime.now(tz=timezone.utc)
        since, until = ((now + timedelta(hours=hours)).strftime("'%Y-%m-%dT%H:%M:%SZ'") for hours in (-1, 1))
        text = re.sub(r"\$__timeFilter\(([^)]*)\)", rf"\1 BETWEEN {since} AND {until}", text)
        text = text.replace("$__interval", "'1m'")
        text = re.sub(r"\$__timeGroupAlias\(([^,]*),\s*'1m'\)", r'floor(extract(epoch from \1)/60)*60 AS "time"', text)
        text = text.replace("$organization", ",".join(f"'{name}'" for name in organizations))
        text = text.replace("$workspace", "'default','blue'")
        assert "$" not in text, text
        with psycopg.connect(self.uri) as connection:
            cursor = connection.execute(text.encode())
            assert cursor.description is not None
            return [column.name for column in cursor.description], cursor.fetchall()


@pytest.fixture(scope="module")
def filled(server_dsn: str, template_database: str) -> Iterator[str]:
    """A database in which two organizations have something for every panel to show."""
    with new_database(server_dsn, template_database) as database:
        settings = Settings.from_env(
            {}, {"DATABASE_URL": database, "GRPC_ENDPOINT": "127.0.0.1:0", "HTTP_ENDPOINT": "127.0.0.1:0"}
        )
        gateway = Gateway(settings, database)
        try:
            http = gateway.start().http
            for organization in ("acme", "globex"):
                work(f"http://{http}/v1/traces", organization)
            gateway.settle_all()
        finally:
            gateway.stop()
        with psycopg.connect(conninfo(database)) as connection:
            connection.execute(
                "INSERT INTO quarantine (organization_id, received_at, signal, reason) "
                "VALUES ('acme', now(), 'traces', 'too_large'), ('globex', now(), 'traces', 'too_large')"
            )
        yield database


def work(endpoint: str, organization: str) -> None:
    """Send what an agent of *organization* did: calls, one of them of an unknown model, a failed tool, a guardrail."""
    resource = Resource({"service.name": "shop", "otel_obs.organization.id": organization})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint)))
    tracer = provider.get_tracer("test")
    agent: Told = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk", "user.id": "u1"}
    with tracer.start_as_current_span("invoke_agent clerk", attributes=agent):
        call(tracer, "gpt-4o-mini", "r1")
        call(tracer, "nobody-knows-it", "r2")
        tool: Told = {"error.type": "timeout", "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
        with tracer.start_as_current_span("execute_tool search", attributes=tool) as span:
            span.set_status(StatusCode.ERROR, "it took too long")
        guardrail: Told = {"name": "similar", "similarity_score": 0.9, "action_taken": "block"}
        verdict: Told = {f"otel_obs.guardrail.{name}": value for name, value in guardrail.items()}
        tracer.start_span("guardrail", attributes=verdict).end()
    provider.shutdown()


def call(tracer: Tracer, model: str, response: str) -> None:
    usage: Told = {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 10, "gen_ai.response.id": response}
    cached: Told = {"gen_ai.usage.cache_read.input_tokens": 400, "gen_ai.request.model": model}
    with tracer.start_as_current_span(f"chat {model}", attributes={**MODEL, **usage, **cached}):
        time.sleep(0.001)


@pytest.fixture(scope="module")
def grafana(filled: str) -> Iterator[Grafana]:
    login = f"grafana_{secrets.token_hex(4)}"
    made = run(
        "psql", "--database-url", filled, "-v", f"login={login}", "-v", "password=made up",
        "-v", "organization=acme", "-f", str(GRAFANA / "reader.sql"),
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    try:
        yield Grafana(make_conninfo(filled, user=login, password="made up"))
    finally:
        with psycopg.connect(filled, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(login)))


@pytest.mark.parametrize(("board", "title"), PANELS, ids=[f"{board}: {title}" for board, title in PANELS])
def test_a_panel_shows_what_happened(board: str, title: str, grafana: Grafana) -> None:
    shown = panel(board, title)
    (target,) = shown["targets"]

    columns, rows = grafana.query(target["rawSql"])

    assert rows
    if shown["type"] == "timeseries":
        assert target["format"] == "time_series"
        assert columns[0] == "time"
        for row in rows:
            assert float(row[0]) > 0
            names = [column for column in columns[1:] if column == "metric"]
            values = [value for column, value in zip(columns[1:], row[1:], strict=True) if column != "metric"]
            assert len(names) == (1 if len(values) == 1 and "metric" in columns else 0)
            assert all(value is None or float(value) >= 0 for value in values)
    elif shown["type"] == "stat":
        assert (len(columns), len(rows)) == (1, 1)
        assert float(rows[0][0]) >= 0
    renamed = {override["matcher"]["options"] for override in shown["fieldConfig"]["overrides"]}
    assert renamed <= set(columns)


def test_sums_of_panels_are_those_of_the_tables(grafana: Grafana, filled: str) -> None:
    with psycopg.connect(conninfo(filled)) as connection:
        (spend,) = connection.execute(
            "SELECT sum(cost_cents) / 100 FROM model_costs WHERE organization_id = 'acme'"
        ).fetchone() or (None,)

    def value(board: str, title: str) -> Any:
        return grafana.query(panel(board, title)["targets"][0]["rawSql"])[1][0][0]

    assert spend > 0
    assert value("overview", "Spend") == value("costs", "Spend") == spend
    assert value("overview", "Calls") == 2
    assert value("overview", "Calls without a cost") == 1
    assert value("costs", "Input read from caches") == Decimal("0.4")


def test_the_login_of_one_organization_sees_no_other(grafana: Grafana) -> None:
    for board, title in PANELS:
        text = panel(board, title)["targets"][0]["rawSql"]

        _, rows = grafana.query(text, ("globex",))

        assert not [row for row in rows if any(value for value in row)], title


def test_the_login_writes_nothing(grafana: Grafana) -> None:
    for statement in ("DELETE FROM event_logs", "SET default_transaction_read_only = off; DELETE FROM event_logs"):
        with psycopg.connect(grafana.uri) as connection, pytest.raises(psycopg.Error):
            connection.execute(statement.encode())


@pytest.mark.parametrize("board", BOARDS)
def test_variables_offer_what_there_is(board: str, grafana: Grafana) -> None:
    variables = {found["name"]: found["query"] for found in BOARDS[board]["templating"]["list"]}

    assert grafana.query(variables["organization"])[1] == [("acme",)]
    assert ("default",) in grafana.query(variables["workspace"])[1]


def test_dashboards_and_provisioning_name_the_same_data_source() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "otel_obs.yaml").read_text())["datasources"]

    named = {
        (target["datasource"]["type"], target["datasource"]["uid"])
        for board in BOARDS.values()
        for shown in board["panels"]
        for target in (shown, *shown["targets"])
    }

    assert named == {(source["type"], source["uid"])}
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)
