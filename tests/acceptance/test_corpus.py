"""Real telemetry of real instrumentations becomes the right rows, however it is sent."""

from __future__ import annotations

import random
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc
import psycopg
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_obs.postgres.pool import conninfo
from otel_obs.rows import AgentRunRow, CallRow, CheckRow, ContentRow, EventRow
from otel_obs.server import Gateway, Listening
from otel_obs.settings import Settings
from tests.corpus import BRIEFLY, COLUMNS, MORE_RUNS, NAMES, Body, Capture, capture
from tests.fix_postgres import new_database
from tests.otlp_json import as_json

Request = ExportTraceServiceRequest | ExportLogsServiceRequest
TABLES: dict[str, type[Any]] = {
    "event_logs": EventRow,
    "model_cost_logs": CallRow,
    "agent_trace_history": AgentRunRow,
    "prompt_similarity_logs": CheckRow,
    "span_contents": ContentRow,
}
NOT_COMPARED = {"organization_id": "", "received_at": None, "resource_hash": None}


@dataclass(frozen=True)
class Gateways:
    """Two gateways on one database."""

    database: str
    running: tuple[Gateway, Gateway]
    listening: tuple[Listening, Listening]

    def settle(self) -> None:
        self.running[0].settle_all()


@pytest.fixture(scope="module")
def gateways(server_dsn: str, template_database: str) -> Iterator[Gateways]:
    with ExitStack() as stack:
        database = stack.enter_context(new_database(server_dsn, template_database))
        settings = Settings.from_env(
            {}, {"DATABASE_URL": database, "GRPC_ENDPOINT": "127.0.0.1:0", "HTTP_ENDPOINT": "127.0.0.1:0"}
        )
        running = (Gateway(settings, database), Gateway(settings, database))
        for gateway in running:
            stack.callback(gateway.stop)
        listening = (running[0].start(), running[1].start())
        yield Gateways(database, running, listening)


def requests_of(found: Capture, organization: str) -> list[Request]:
    """Return the captured requests as those of *organization*."""
    return [_owned(body, organization) for body in found.bodies]


def _owned(body: Body, organization: str) -> Request:
    request: Request = ExportTraceServiceRequest() if body.signal == "traces" else ExportLogsServiceRequest()
    request.ParseFromString(body.data)
    groups = request.resource_spans if isinstance(request, ExportTraceServiceRequest) else request.resource_logs
    for group in groups:
        attribute = group.resource.attributes.add()
        attribute.key = "otel_obs.organization.id"
        attribute.value.string_value = organization
    return request


def split(requests: Sequence[Request]) -> list[Request]:
    """Return each span and each record in a request of its own."""
    found: list[Request] = []
    for request in requests:
        if isinstance(request, ExportTraceServiceRequest):
            for group in request.resource_spans:
                for part in group.scope_spans:
                    for span in part.spans:
                        alone = ExportTraceServiceRequest()
                        resource = alone.resource_spans.add(resource=group.resource)
                        resource.scope_spans.add(scope=part.scope, spans=[span])
                        found.append(alone)
        else:
            for log_group in request.resource_logs:
                for log_part in log_group.scope_logs:
                    for record in log_part.log_records:
                        alone_log = ExportLogsServiceRequest()
                        log_resource = alone_log.resource_logs.add(resource=log_group.resource)
                        log_resource.scope_logs.add(scope=log_part.scope, log_records=[record])
                        found.append(alone_log)
    return found


def post(listening: Listening, request: Request, *, json: bool = False) -> None:
    signal = "traces" if isinstance(request, ExportTraceServiceRequest) else "logs"
    data, kind = (as_json(request), "json") if json else (request.SerializeToString(), "x-protobuf")
    asked = urllib.request.Request(  # our own gateway
        f"http://{listening.http}/v1/{signal}", data, {"content-type": f"application/{kind}"}
    )
    with urllib.request.urlopen(asked) as answer:  # noqa: S310
        assert answer.status == 200
        assert answer.read() in (b"", b"{}")


def call(channel: grpc.Channel, request: Request) -> None:
    service = "trace.v1.TraceService" if isinstance(request, ExportTraceServiceRequest) else "logs.v1.LogsService"
    export = channel.unary_unary(f"/opentelemetry.proto.collector.{service}/Export", None, None)
    assert export(request.SerializeToString(), timeout=10) == b""


def in_order(gateways: Gateways, requests: Sequence[Request]) -> None:
    for request in requests:
        post(gateways.listening[0], request)


def over_grpc(gateways: Gateways, requests: Sequence[Request]) -> None:
    with grpc.insecure_channel(gateways.listening[0].grpc) as channel:
        for request in requests:
            call(channel, request)


def as_otlp_json(gateways: Gateways, requests: Sequence[Request]) -> None:
    for request in requests:
        post(gateways.listening[0], request, json=True)


def shuffled(gateways: Gateways, requests: Sequence[Request]) -> None:
    for request in random.Random(1).sample(requests, len(requests)):
        post(gateways.listening[0], request)


def one_by_one_shuffled_and_settled_meanwhile(gateways: Gateways, requests: Sequence[Request]) -> None:
    alone = split(requests)
    with grpc.insecure_channel(gateways.listening[0].grpc) as channel:
        for position, request in enumerate(random.Random(2).sample(alone, len(alone))):
            call(channel, request)
            if position % 5 == 0:
                gateways.settle()


def everything_twice(gateways: Gateways, requests: Sequence[Request]) -> None:
    for request in (*requests, *reversed(requests)):
        post(gateways.listening[0], request)


def to_two_gateways_at_once(gateways: Gateways, requests: Sequence[Request]) -> None:
    """Send each span to both gateways, in opposite orders, at the same time."""
    alone = split(requests)
    failures: list[BaseException] = []

    def send(listening: Listening, mine: Sequence[Request]) -> None:
        try:
            with grpc.insecure_channel(listening.grpc) as channel:
                for request in mine:
                    call(channel, request)
        except BaseException as error:  # noqa: BLE001  # told below, in the test's own thread
            failures.append(error)

    senders = [
        threading.Thread(target=send, args=(gateways.listening[0], alone)),
        threading.Thread(target=send, args=(gateways.listening[1], alone[::-1])),
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert not failures


WAYS: tuple[Callable[[Gateways, Sequence[Request]], None], ...] = (
    over_grpc,
    as_otlp_json,
    shuffled,
    one_by_one_shuffled_and_settled_meanwhile,
    everything_twice,
    to_two_gateways_at_once,
)


class Rows(NamedTuple):
    """What the database holds of one organization."""

    events: list[EventRow]
    calls: list[CallRow]
    runs: list[AgentRunRow]
    checks: list[CheckRow]
    contents: list[ContentRow]


def rows_of(database: str, organization: str) -> Rows:
    with psycopg.connect(conninfo(database)) as connection:
        return Rows(*(_rows(connection, table, kind, organization) for table, kind in TABLES.items()))


def _rows(connection: psycopg.Connection, table: str, kind: type[Any], organization: str) -> list[Any]:
    cursor = connection.execute(
        f"SELECT * FROM {table} WHERE organization_id = %s",  # noqa: S608  # our own names
        (organization,),
    )
    found = [kind(*row) for row in cursor.fetchall()]
    names = {name: value for name, value in NOT_COMPARED.items() if name in kind._fields}
    return sorted((row._replace(**names) for row in found), key=lambda row: (row.trace_id, row.event_id, str(row)))


@pytest.fixture(scope="module")
def reference(gateways: Gateways) -> Callable[[str], Rows]:
    """Return the rows of a capture that was sent in order, sent at most once."""
    known: dict[str, Rows] = {}

    def rows(name: str) -> Rows:
        if name not in known:
            in_order(gateways, requests_of(capture(name), f"{name}/in order"))
            gateways.settle()
            known[name] = rows_of(gateways.database, f"{name}/in order")
        return known[name]

    return rows


@pytest.mark.parametrize("name", NAMES)
def test_calls_with_usage_are_those_that_spans_carry_each_once(name: str, reference: Callable[[str], Rows]) -> None:
    found = capture(name)

    counted = [row for row in reference(name).calls if row.input_tokens is not None or row.output_tokens is not None]

    assert len(counted) == found.totals["calls"]
    for total in ("input_total", "output_total"):
        assert sum(getattr(row, COLUMNS[total]) or 0 for row in counted) == found.totals[total]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_known_of_a_call_is_what_its_provider_billed(name: str, reference: Callable[[str], Rows]) -> None:
    found = capture(name)

    for row in reference(name).calls:
        if row.input_tokens is None:
            continue
        billed = found.truth[(row.input_tokens, row.output_tokens or 0)]
        for truth, column in COLUMNS.items():
            assert getattr(row, column) in (None, billed[truth]), (column, row.model_name)


@pytest.mark.parametrize("name", NAMES)
def test_served_calls_without_usage_are_there_and_failed_ones_cost_nothing(
    name: str, reference: Callable[[str], Rows]
) -> None:
    served = capture(name).expected["totals_served"]["calls"]
    calls = reference(name).calls

    silent = [row for row in calls if row.input_tokens is None and row.output_tokens is None]

    assert len(calls) <= served
    assert all(row.cost_usd is None and row.cost_reason == "no_usage" for row in silent)
    assert not [row for row in calls if row.status == "error"]


@pytest.mark.parametrize("name", NAMES)
def test_each_agent_run_is_a_row_with_the_tools_that_it_ran(name: str, reference: Callable[[str], Rows]) -> None:
    expected = capture(name).expected
    runs = reference(name).runs

    agents = Counter(row.agent_name for row in runs)
    tools = Counter(node["name"] for row in runs for node in row.execution_nodes if node["type"] == "tool")

    assert not Counter(expected["agents_run"]) - agents
    assert name in MORE_RUNS or agents == Counter(expected["agents_run"])
    if expected["agents_run"]:
        assert tools == Counter(tool["name"] for tool in expected["tool_calls_executed"])


@pytest.mark.parametrize("name", NAMES)
def test_conversations_and_users_are_those_that_the_program_had(name: str, reference: Callable[[str], Rows]) -> None:
    sessions = {(session["id"], session.get("user")) for session in capture(name).expected["sessions"]}

    known = {(row.conversation_id, row.user_id) for row in reference(name).calls}

    assert {pair for pair in known if None not in pair and name != "claude-code"} <= sessions


@pytest.mark.parametrize("name", NAMES)
def test_known_models_are_priced(name: str, reference: Callable[[str], Rows]) -> None:
    for row in reference(name).calls:
        if row.input_tokens is not None:
            assert row.cost_source == "computed", row.model_name
            assert row.cost_usd is not None
            assert row.cost_usd > 0


@pytest.mark.parametrize(
    ("way", "name"),
    [
        pytest.param(way, name, id=f"{way.__name__}-{name}")
        for way in WAYS
        for name in NAMES
        if name not in BRIEFLY or way is one_by_one_shuffled_and_settled_meanwhile
    ],
)
def test_the_rows_are_the_same_however_they_come(
    name: str,
    way: Callable[[Gateways, Sequence[Request]], None],
    gateways: Gateways,
    reference: Callable[[str], Rows],
) -> None:
    organization = f"{name}/{way.__name__}"

    way(gateways, requests_of(capture(name), organization))
    gateways.settle()

    assert rows_of(gateways.database, organization) == reference(name)
