"""Kafka between: what the producer writes and the consumer reads, and whose it still is then.

The broker is kfake, not Kafka: what only brokers do (replication, quotas, rebalancing at scale) is not tested here.
"""

from __future__ import annotations

from collections import Counter

from opentelemetry.sdk.trace.export import SpanExportResult

from tests.fix_collector import Behind, Certificates, Starting
from tests.sending import ids, sdk, spans
from tests.waiting import until

LARGE = 6 * 1024 * 1024
"""Characters of one attribute: more than gRPC, Kafka and Collectors let through by default."""


def test_spans_stay_with_their_organization_through_kafka_outages_and_kills(
    kafka: int, behind: Behind, collector: Starting, certificates: Certificates
) -> None:
    broker = {"OTELCOL_KAFKA_BROKERS": f"[127.0.0.1:{kafka}]", "OTELCOL_KAFKA_INSECURE": "true"}
    producer = collector("kafka-producer", behind.grpc, **broker)
    consumer = collector("kafka-consumer", behind.grpc, **broker)
    keys = {"acme": behind.key("acme"), "globex": behind.key("globex")}
    acknowledged: dict[str, set[str]] = {organization: set() for organization in keys}

    def send() -> None:
        for organization, key in keys.items():
            with sdk(producer.grpc, key, over="grpc", authority=certificates.authority, workspace="blue") as exporter:
                batch = (*spans(20), *spans(1, note="n" * LARGE))
                assert exporter.export(batch) is SpanExportResult.SUCCESS
                acknowledged[organization] |= ids(batch)

    def arrived() -> bool:
        stored = behind.spans()
        return acknowledged == {name: {span for found, _, span in stored if found == name} for name in keys}

    send()
    until(arrived)
    # The consumer has taken these from Kafka, or not yet, when it is killed; our gateway is away.
    behind.kill()
    send()
    consumer.kill()
    send()
    producer.kill()
    producer.start()
    consumer.start()
    send()
    behind.start()

    until(arrived)
    stored = behind.spans()
    assert max(Counter(span for _, _, span in stored).values()) == 1
    assert {workspace for _, workspace, _ in stored} == {"blue"}
