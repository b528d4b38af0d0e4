"""Real SDKs, the real Collector, our gateway, rows: whose they are, and that none is missing, whatever stops."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from otel_obs.postgres.keys import new_key
from otel_obs.postgres.pool import conninfo
from tests.fix_collector import Behind, Certificates, Collector, Starting
from tests.sending import MODEL, Told, ids, sdk, spans
from tests.waiting import until

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
SECRET = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"
OUTAGE_S = 15
"""How long our gateway is away; minutes are the business of `make chaos`."""


@pytest.fixture(autouse=True)
def _own_authority(monkeypatch: pytest.MonkeyPatch) -> None:
    """For requests, which the SDK sends with, a variable of the machine outweighs what its session was told."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def of(stored: Sequence[tuple[str, str, str]], organization: str) -> set[str]:
    return {span_id for found, _, span_id in stored if found == organization}


@pytest.mark.parametrize("over", ["grpc", "http"])
def test_spans_reach_their_organization_through_one_collector(
    over: str, behind: Behind, collector: Starting, certificates: Certificates
) -> None:
    front = collector("gateway", behind.grpc)
    port = front.grpc if over == "grpc" else front.http
    sent: dict[str, set[str]] = {}

    for organization, workspace in (("acme", "blue"), ("globex", "red")):
        key = behind.key(organization)
        with sdk(port, key, over=over, authority=certificates.authority, workspace=workspace) as exporter:
            batch = spans(10, **{"otel_obs.organization.id": "somebody else's"})
            assert exporter.export(batch) is SpanExportResult.SUCCESS
            sent[organization] = ids(batch)

    until(lambda: len(behind.spans()) == 20)
    stored = behind.spans()
    assert {organization: of(stored, organization) for organization in sent} == sent
    assert {(organization, workspace) for organization, workspace, _ in stored} == {("acme", "blue"), ("globex", "red")}
    with psycopg.connect(conninfo(behind.database)) as connection:
        calls = connection.execute("SELECT count(*), sum(input_tokens), min(cost_source) FROM model_costs").fetchone()
    assert calls == (20, 20_000, "computed")


@pytest.fixture
def exporters(certificates: Certificates) -> Iterator[Callable[[Collector, str, str], SpanExporter]]:
    with ExitStack() as stack:

        @cache
        def open_one(front: Collector, key: str, over: str) -> SpanExporter:
            port = front.grpc if over == "grpc" else front.http
            return stack.enter_context(sdk(port, key, over=over, authority=certificates.authority))

        yield open_one


def test_an_outage_and_a_killed_collector_lose_nothing_and_mix_nothing(
    behind: Behind, collector: Starting, exporters: Callable[[Collector, str, str], SpanExporter]
) -> None:
    front = collector("gateway", behind.grpc)
    keys = {"acme": behind.key("acme"), "globex": behind.key("globex"), "nobody": new_key()[0]}
    acknowledged: dict[str, set[str]] = {organization: set() for organization in keys}

    def send(organization: str, over: str) -> None:
        batch = spans(5)
        assert exporters(front, keys[organization], over).export(batch) is SpanExportResult.SUCCESS
        acknowledged[organization] |= ids(batch)

    def send_all() -> None:
        for organization in keys:
            for over in ("grpc", "http"):
                send(organization, over)

    send_all()
    until(lambda: len(behind.spans()) == 20)

    # Our gateway goes; nobody but the Collector takes what comes, and then it is killed, and killed again.
    behind.kill()
    end = time.monotonic() + OUTAGE_S
    while time.monotonic() < end:
        send_all()
        time.sleep(1)
    front.kill()
    front.start()
    send_all()
    front.kill()
    front.start()
    assert len(behind.spans()) == 20
    behind.start()

    expected = {organization: acknowledged[organization] for organization in ("acme", "globex")}
    until(lambda: {name: of(behind.spans(), name) for name in expected} == expected)
    stored = behind.spans()
    assert max(Counter(span_id for _, _, span_id in stored).values()) == 1
    assert {organization for organization, _, _ in stored} == {"acme", "globex"}
    # What no key opens is refused for good, and stands in nobody's way.
    until(lambda: front.metric("otelcol_exporter_send_failed_spans") > 0)


def test_a_full_queue_tells_senders_to_come_again_and_keeps_what_it_took(
    behind: Behind, collector: Starting, certificates: Certificates
) -> None:
    front = collector("gateway", behind.grpc, OTELCOL_QUEUE_BYTES="2000000")
    key = behind.key("acme")
    behind.kill()
    authority = grpc.ssl_channel_credentials(certificates.authority.read_bytes())
    answers: Counter[grpc.StatusCode] = Counter()
    acknowledged: set[str] = set()

    with grpc.secure_channel(f"localhost:{front.grpc}", authority) as channel:
        export = channel.unary_unary(TRACES, None, None)
        for _ in range(8):
            batch = spans(1, note="n" * 500_000)
            try:
                export(
                    encode_spans(batch).SerializeToString(), timeout=30,
                    metadata=(("authorization", f"Bearer {key}"),),
                )  # fmt: skip
            except grpc.RpcError as error:
                refused: Any = error
                answers[refused.code()] += 1
            else:
                answers[grpc.StatusCode.OK] += 1
                acknowledged |= ids(batch)
    behind.start()

    assert answers.keys() == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    until(lambda: of(behind.spans(), "acme") == acknowledged)


def test_two_tiers_of_collectors_hand_on_whose_it_is_and_mask_what_is_secret(
    behind: Behind, collector: Starting
) -> None:
    front = collector("gateway", behind.grpc)
    agent = collector("agent", front.grpc, OTELCOL_UPSTREAM=f"dns:///localhost:{front.grpc}")
    key = behind.key("acme", "blue")
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    question = f'[{{"role":"user","parts":[{{"type":"text","content":"my key is {SECRET}, say hello"}}]}}]'
    told: Told = {
        **MODEL, "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 10, "gen_ai.response.id": "r1",
        "gen_ai.input.messages": question, "db.password": "hunter2", "url.full": "https://u:p4ss@example.org/x",
        "http.request.header.authorization": ["Basic dXNlcjpwYXNz"],
    }  # fmt: skip
    with provider.get_tracer("test").start_as_current_span("chat", attributes=told) as span:
        span.add_event("exception", {"exception.message": f"Incorrect API key provided: {SECRET}"})
        span.set_status(StatusCode.ERROR, f"Incorrect API key provided: {SECRET}")

    with sdk(agent.grpc, key, over="grpc") as exporter:
        assert exporter.export(kept.get_finished_spans()) is SpanExportResult.SUCCESS
    until(lambda: len(behind.spans()) == 1)

    assert [(organization, workspace) for organization, workspace, _ in behind.spans()] == [("acme", "blue")]
    with psycopg.connect(conninfo(behind.database)) as connection:
        rows = connection.execute(
            "SELECT e.context::text, c.body, m.input_tokens, m.output_tokens FROM event_logs AS e "
            "JOIN span_contents AS c USING (span_id) JOIN model_cost_logs AS m USING (span_id)"
        ).fetchall()
    (context, question, *tokens) = rows[0]
    assert tokens == [1000, 10]
    assert "my key is ****, say hello" in question
    assert "Incorrect API key provided: ****" in context
    for text in (SECRET, "hunter2", "p4ss", "dXNlcjpwYXNz"):
        assert text not in context + question
    assert "https://" not in context or "****example.org" in context


@pytest.mark.parametrize("over", ["grpc", "http"])
@pytest.mark.parametrize("signal", ["traces", "logs"])
def test_a_foreign_sender_is_understood(
    signal: str, over: str, behind: Behind, collector: Starting, certificates: Certificates, telemetrygen: Path
) -> None:
    front = collector("gateway", behind.grpc)
    key = behind.key("acme")

    done = subprocess.run(
        [
            telemetrygen, signal, f"--{signal}", "7", "--workers", "2", "--rate", "0",
            "--otlp-endpoint", f"localhost:{front.grpc if over == 'grpc' else front.http}",
            *(["--otlp-http"] if over == "http" else []),
            *(["--body", f"my key is {SECRET}"] if signal == "logs" else []),
            "--ca-cert", certificates.authority, "--otlp-header", f'authorization="Bearer {key}"',
        ],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    # Two workers make seven each; a trace of telemetrygen has two spans.
    count = 28 if signal == "traces" else 14
    until(lambda: len(behind.spans()) == count)
    assert {organization for organization, _, _ in behind.spans()} == {"acme"}
    with psycopg.connect(conninfo(behind.database)) as connection:
        rows = "".join(row for (row,) in connection.execute(
            "SELECT e::text FROM event_logs AS e UNION ALL SELECT c::text FROM span_contents AS c"
        ))  # fmt: skip
        kinds = connection.execute("SELECT DISTINCT event_type, service_name FROM event_logs").fetchall()
    assert kinds == [("span" if signal == "traces" else "log", "telemetrygen")]
    assert SECRET not in rows
    assert signal == "traces" or "my key is ****" in rows
