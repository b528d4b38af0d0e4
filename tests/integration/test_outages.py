"""A gateway whose database is away, slow, silent or cut off: what is acknowledged is there afterwards, once."""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import PoolTimeout

from otel_obs.cli.up import api_of
from otel_obs.errors import StorageUnavailableError
from otel_obs.pipeline.segment import Record
from otel_obs.pipeline.spool import Spool
from otel_obs.postgres.pool import PatientConnection, conninfo, fingerprint, open_pool
from otel_obs.server import Gateway, Listening
from otel_obs.settings import Settings
from tests.fault_proxy import FaultProxy, Trap
from tests.folders import files
from tests.ledger import EXPORT, Ledger, adds_up, present
from tests.waiting import until

WAYS = ("protobuf", "json", "grpc")
KEYS = (
    "new:" + "bmV3IGtleSBvZiAzMiBieXRlcyBhbmQgc29tZSBtb3Jl," + "old:" + "b2xkIGtleSBvZiAzMiBieXRlcyBhbmQgc29tZSBtb3Jl"
)
OLD_KEY = KEYS.partition(",")[2]
ROOT = Path(__file__).resolve().parents[2]
CANARY = "canary-of-a-prompt"


@dataclass
class Running:
    gateway: Gateway
    listening: Listening
    connection: psycopg.Connection
    folder: Path

    def ledger(self, way: str = "protobuf", **more: Any) -> Ledger:
        return Ledger(self.listening.grpc if way == "grpc" else self.listening.http, way, **more)

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.listening.http, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        found = re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        assert found, name
        return sum(float(value) for value in found)

    def until_drained(self, within_s: float = 60) -> None:
        until(lambda: self.metric("otel_obs_spool_bytes") == 0, within_s)

    def on_disk(self) -> bytes:
        return b"".join(path.read_bytes() for path in files(self.folder, "*.spool"))


@contextmanager
def running(database: str, url: str, folder: Path, **options: str) -> Iterator[Running]:
    settings = Settings.from_env(
        {}, {"GRPC_ENDPOINT": "127.0.0.1:0", "HTTP_ENDPOINT": "127.0.0.1:0", "DATA_DIR": str(folder), **options}
    )
    gateway = Gateway(settings, url)
    try:
        listening = gateway.start()
        with psycopg.connect(conninfo(database), autocommit=True) as connection:
            yield Running(gateway, listening, connection, folder)
    finally:
        gateway.stop(2.0)


@pytest.fixture
def proxy(database: str) -> Iterator[FaultProxy]:
    found = FaultProxy.to_database(database)
    yield found
    found.close()


@pytest.fixture
def gateway(database: str, proxy: FaultProxy, tmp_path: Path) -> Iterator[Running]:
    with running(database, proxy.url(database), tmp_path) as found:
        until(lambda: found.get("/readyz")[0] == 200)
        yield found


@pytest.mark.parametrize("way", WAYS)
def test_what_comes_while_the_database_is_away_is_acknowledged_and_there_when_it_is_back(
    way: str, gateway: Running, proxy: FaultProxy
) -> None:
    ledger = gateway.ledger(way, bad=True)
    assert ledger.send(0)
    proxy.refuse()

    assert ledger.send_all(range(1, 8))

    assert ledger.slowest_s < 3
    assert gateway.get("/healthz")[0] == 200
    assert gateway.get("/readyz")[0] == 503
    assert gateway.metric("otel_obs_records_spooled_total") == 7 * 20
    assert gateway.metric("otel_obs_spool_bytes") > 0
    assert gateway.metric("otel_obs_database_up") == 0
    assert len(present(gateway.connection)) == 20

    proxy.speak()

    gateway.until_drained()
    assert adds_up(gateway.connection, ledger)["committed"] == 157
    assert ledger.rejected == 3
    assert gateway.metric("otel_obs_spool_records_total") == 140
    assert gateway.get("/readyz")[0] == 200
    ledger.close()


def test_a_gateway_that_starts_without_its_database_takes_what_comes_and_connects_by_itself(
    database: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    proxy.refuse()
    with running(database, proxy.url(database), tmp_path) as gateway:
        ledger = gateway.ledger()

        assert ledger.send(0)
        assert ledger.slowest_s < 3
        assert (gateway.get("/healthz")[0], gateway.get("/readyz")[0]) == (200, 503)

        proxy.speak()

        until(lambda: gateway.get("/readyz")[0] == 200, within_s=5)
        gateway.until_drained()
        adds_up(gateway.connection, ledger)


def test_a_full_spool_tells_senders_to_come_again_in_the_words_of_both_ways(
    database: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    proxy.refuse()
    with running(database, proxy.url(database), tmp_path, SPOOL_MAX_BYTES="6000") as gateway:
        ledger = gateway.ledger()
        acked = 0
        while ledger.send(acked):
            acked += 1

        assert 0 < acked < 10
        with grpc.insecure_channel(gateway.listening.grpc) as channel:
            export = channel.unary_unary(EXPORT, None, None)
            with pytest.raises(grpc.RpcError) as refused:
                export(ledger.request(99).SerializeToString(), timeout=10)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        trailers: dict[str, Any] = dict(refused.value.trailing_metadata() or ())  # type: ignore[arg-type]
        for info in (
            RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"]),
            RetryInfo.FromString(Status.FromString(trailers["grpc-status-details-bin"]).details[0].value),
        ):
            assert 1 <= info.retry_delay.seconds <= 2

        proxy.speak()

        gateway.until_drained()
        assert ledger.insist(acked)
        balance = adds_up(gateway.connection, ledger)
        assert balance["acknowledged"] == balance["committed"] == (acked + 1) * 20


def test_without_a_spool_senders_are_told_to_come_again(database: str, proxy: FaultProxy, tmp_path: Path) -> None:
    proxy.refuse()
    with running(database, proxy.url(database), tmp_path, SPOOL_MAX_BYTES="0") as gateway:
        ledger = gateway.ledger()

        assert not ledger.send(0)

        assert ledger.refused == {0: 503}
        proxy.speak()
        assert ledger.insist(0)
        adds_up(gateway.connection, ledger)


@pytest.mark.parametrize(("spans", "word"), [(20, b"COMMIT"), (2, b"store_batch")], ids=["many rows", "few rows"])
def test_a_commit_in_doubt_is_one_row_in_the_end(spans: int, word: bytes, gateway: Running, proxy: FaultProxy) -> None:
    ledger = gateway.ledger(spans=spans)
    assert ledger.send(0)
    trap = proxy.trap = Trap(word, passes=True, cuts=True)

    number = 0
    while not trap.sprung.is_set():
        number += 1
        assert ledger.send(number)

    gateway.until_drained()
    assert ledger.send_all(range(number + 1))
    assert adds_up(gateway.connection, ledger)["committed"] == spans * (number + 1)


@pytest.mark.parametrize("sent_bytes", [500, 3000, 12_000])
def test_a_wire_that_is_cut_anywhere_in_a_transaction_costs_nothing(
    sent_bytes: int, gateway: Running, proxy: FaultProxy
) -> None:
    ledger = gateway.ledger(spans=100)
    proxy.cut_after_bytes = sent_bytes

    assert ledger.send_all(range(4))

    gateway.until_drained()
    assert adds_up(gateway.connection, ledger)["committed"] == 400


def test_a_database_that_falls_silent_holds_up_no_answer(gateway: Running, proxy: FaultProxy) -> None:
    ledger = gateway.ledger()
    assert ledger.send(0)
    proxy.silence()

    threads = [threading.Thread(target=ledger.send, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.send(9)

    assert ledger.acked == set(range(10))
    assert ledger.slowest_s < 3
    proxy.speak()
    gateway.until_drained()
    assert adds_up(gateway.connection, ledger)["committed"] == 200


def test_a_connection_whose_server_does_not_answer_is_given_up(database: str, proxy: FaultProxy) -> None:
    class Hasty(PatientConnection):
        answer_within_s = 0.3

    with Hasty.connect(conninfo(proxy.url(database)), autocommit=True) as connection:
        assert connection.execute("SELECT pg_sleep(0.1)").fetchone() is not None
        proxy.silence()

        with pytest.raises(psycopg.OperationalError, match="does not answer"):
            connection.execute("SELECT 1")

        assert connection.closed
    proxy.speak()


def test_a_pool_that_was_asked_in_vain_for_long_connects_when_the_server_is_back(
    database: str, proxy: FaultProxy
) -> None:
    """More often than may wait at a time; each of them has given up since."""
    proxy.refuse()
    pool = open_pool(proxy.url(database), max_size=2, wait_s=0.02)
    try:
        for _ in range(pool.max_waiting + 10):
            with pytest.raises(PoolTimeout):
                pool.getconn()
        assert pool.get_stats()["requests_waiting"] == 0

        proxy.speak()

        def answers() -> bool:
            try:
                with pool.connection() as connection:
                    return connection.execute("SELECT 1").fetchone() == (1,)
            except PoolTimeout:
                return False

        until(answers)
    finally:
        pool.close(2.0)


def test_a_locked_table_sends_requests_to_disk_and_answers_in_time(gateway: Running, database: str) -> None:
    ledger = gateway.ledger("grpc")
    assert ledger.send(0)
    with psycopg.connect(conninfo(database)) as other:
        other.execute("LOCK TABLE event_logs IN ACCESS EXCLUSIVE MODE")

        assert ledger.send_all(range(1, 4))

        assert ledger.slowest_s < 3
    gateway.until_drained()
    assert adds_up(gateway.connection, ledger)["committed"] == 80
    ledger.close()


def test_a_pool_with_nothing_left_sends_requests_to_disk(gateway: Running) -> None:
    ledger = gateway.ledger()
    pool = gateway.gateway._pool
    taken = [pool.getconn() for _ in range(pool.max_size)]
    try:
        assert ledger.send(0)
        assert ledger.slowest_s < 3
    finally:
        for connection in taken:
            pool.putconn(connection)
    gateway.until_drained()
    adds_up(gateway.connection, ledger)


def test_a_database_that_only_reads_is_one_that_is_away(gateway: Running, database: str) -> None:
    ledger = gateway.ledger()
    assert ledger.send(0)
    name = sql.Identifier(str(conninfo_to_dict(database)["dbname"]))
    admin = gateway.connection
    admin.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
    admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()"
    )

    assert ledger.send_all(range(1, 4))

    until(lambda: gateway.get("/readyz")[0] == 503)
    admin.execute("SET default_transaction_read_only = off")
    admin.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(name))
    gateway.until_drained()
    assert adds_up(admin, ledger)["committed"] == 80


def test_a_client_that_leaves_leaves_nothing_behind(gateway: Running, database: str) -> None:
    ledger = gateway.ledger("grpc")
    with psycopg.connect(conninfo(database)) as other:
        other.execute("LOCK TABLE event_logs IN ACCESS EXCLUSIVE MODE")
        assert not ledger.send(0, timeout_s=0.3)

    assert ledger.insist(0)
    gateway.until_drained()

    assert adds_up(gateway.connection, ledger)["committed"] == 20
    pool = gateway.gateway._pool
    # Settling and watching take one now and then, and give it back.
    until(lambda: pool.get_stats()["pool_available"] == pool.get_stats()["pool_size"])
    ledger.close()


@pytest.mark.parametrize(
    ("word", "passes"),
    [(b"admit_batch", False), (b"COMMIT", False), (b"COMMIT", True)],
    ids=["before the rows", "before the commit", "before its answer"],
)
def test_a_client_that_leaves_while_its_rows_are_written_sends_a_duplicate_next(
    word: bytes, passes: bool, gateway: Running, proxy: FaultProxy
) -> None:
    ledger = gateway.ledger("grpc")
    assert ledger.send(0)
    trap = proxy.trap = Trap(word, passes=passes, cuts=False)

    assert not ledger.send(1, timeout_s=0.5)

    assert trap.sprung.wait(10)
    proxy.speak()
    assert ledger.insist(1)
    gateway.until_drained()
    assert adds_up(gateway.connection, ledger)["committed"] == 40
    ledger.close()


def test_questions_that_take_every_connection_of_readers_keep_no_writer_waiting(
    gateway: Running, database: str, tmp_path: Path
) -> None:
    settings = Settings.from_env({}, {"API_ENDPOINT": "127.0.0.1:0", "DATA_DIR": str(tmp_path)})
    api = api_of(gateway.gateway, settings, database)
    taken = [api._pool.getconn() for _ in range(api._pool.max_size)]
    try:
        ledger = gateway.ledger()
        assert ledger.send_all(range(3))
        assert gateway.metric("otel_obs_records_spooled_total") == 0
    finally:
        for connection in taken:
            api._pool.putconn(connection)
        api.stop()
    adds_up(gateway.connection, ledger)


def test_a_column_that_is_missing_is_told_to_come_again_and_nothing_is_quarantined(gateway: Running) -> None:
    gateway.connection.execute("ALTER TABLE event_logs RENAME COLUMN node_name TO somewhere_else")
    ledger = gateway.ledger()

    assert not ledger.send(0)

    assert ledger.refused == {0: 503}
    assert gateway.metric("otel_obs_spool_bytes") == 0
    assert gateway.connection.execute("SELECT count(*) FROM quarantine").fetchone() == (0,)
    gateway.connection.execute("ALTER TABLE event_logs RENAME COLUMN somewhere_else TO node_name")
    assert ledger.insist(0)
    adds_up(gateway.connection, ledger)


def test_a_gateway_goes_on_when_the_schema_becomes_newer_and_a_new_one_refuses(
    gateway: Running, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = gateway.ledger()
    assert ledger.send(0)
    gateway.connection.execute("INSERT INTO schema_migrations (version, name, checksum) VALUES (9000, 'new', 'x')")

    gateway.gateway._watch.suspect(StorageUnavailableError())
    until(lambda: gateway.get("/readyz")[0] == 200)

    assert ledger.send(1)
    assert adds_up(gateway.connection, ledger)["committed"] == 40
    until(lambda: any("upgrade otel_obs" in record.message for record in caplog.records))


def test_the_same_batch_from_many_clients_at_once_is_stored_once(gateway: Running) -> None:
    ledgers = [gateway.ledger(WAYS[number % 3]) for number in range(8)]

    def send(ledger: Ledger) -> None:
        for number in (0, 1, 0, 1, 1, 0):
            assert ledger.send(number)

    threads = [threading.Thread(target=send, args=(ledger,)) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(not ledger.refused and not ledger.doubtful for ledger in ledgers)
    assert adds_up(gateway.connection, *ledgers)["committed"] == 40
    for ledger in ledgers:
        ledger.close()


def test_a_successor_drains_what_a_gateway_left(database: str, proxy: FaultProxy, tmp_path: Path) -> None:
    proxy.refuse()
    with running(database, proxy.url(database), tmp_path) as gateway:
        ledger = gateway.ledger()
        assert ledger.send_all(range(3))
    proxy.speak()

    with running(database, proxy.url(database), tmp_path) as gateway:
        until(lambda: len(present(gateway.connection)) == 60)
        gateway.until_drained()

        assert adds_up(gateway.connection, ledger)["committed"] == 60
        assert not files(tmp_path, "*.spool")


def test_two_gateways_on_one_folder_have_each_their_own(database: str, proxy: FaultProxy, tmp_path: Path) -> None:
    url = proxy.url(database)
    with running(database, url, tmp_path) as first, running(database, url, tmp_path) as second:
        proxy.refuse()
        ledgers = [first.ledger(seed=1), second.ledger(seed=2)]
        for ledger in ledgers:
            assert ledger.send_all(range(3))
        assert len({path.parent for path in files(tmp_path, "*.spool")}) == 2

        proxy.speak()

        for gateway in (first, second):
            gateway.until_drained()
        assert adds_up(first.connection, *ledgers)["committed"] == 120


def test_a_damaged_spool_costs_what_is_damaged_and_nothing_else(
    database: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    proxy.refuse()
    with running(database, proxy.url(database), tmp_path) as gateway:
        ledger = gateway.ledger()
        assert ledger.send_all(range(3))
    segment = max(files(tmp_path, "*.spool"), key=lambda path: path.stat().st_size)
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data[:-1] + data[-1:] + data[:20])
    proxy.speak()

    with running(database, proxy.url(database), tmp_path) as gateway:
        until(lambda: len(present(gateway.connection)) == 40)
        gateway.until_drained()

        assert gateway.metric("otel_obs_spool_damaged_total") >= 1
        assert files(tmp_path, "*.corrupt")
        noted = "SELECT count(*) FROM audit_log WHERE action = 'spool.damaged'"
        until(lambda: gateway.connection.execute(noted).fetchone() == (1,))
        assert gateway.get("/readyz")[0] == 200
        assert gateway.ledger(seed=3).send(0)


def said(number: int = 0) -> bytes:
    ledger = Ledger("", call_every=0)
    request = ledger.request(number)
    span = request.resource_spans[0].scope_spans[0].spans[0]
    for key, value in {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini", "gen_ai.provider.name": "openai",
        "gen_ai.response.id": "r1", "gen_ai.input.messages": CANARY,
    }.items():  # fmt: skip
        span.attributes.add(key=key).value.string_value = value
    span.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = 1000
    span.attributes.add(key="gen_ai.usage.output_tokens").value.int_value = 7
    return request.SerializeToString()


def post(gateway: Running, body: bytes) -> int:
    connection = http.client.HTTPConnection(gateway.listening.http, timeout=10)
    try:
        connection.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf"})
        return connection.getresponse().status
    finally:
        connection.close()


def rows_of(connection: psycopg.Connection) -> list[Any]:
    """Return all rows but for when they came, and for what is sealed, which is never twice the same."""
    return [
        connection.execute(
            sql.SQL(
                "SELECT to_jsonb(t) - 'received_at' - 'body_encrypted' FROM {} AS t ORDER BY t.trace_id, t.event_id"
            ).format(sql.Identifier(table))
        ).fetchall()
        for table in ("event_logs", "model_cost_logs", "span_contents", "agent_trace_history")
    ]


@pytest.mark.parametrize(
    ("options", "is_readable"),
    [({}, True), ({"ENCRYPTION_KEYS": KEYS}, False), ({"CONTENT": "drop"}, False)],
    ids=["as sent", "encrypted", "content dropped"],
)
def test_rows_from_disk_are_those_that_the_request_would_have_been(
    options: dict[str, str], is_readable: bool, database: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    with running(database, proxy.url(database), tmp_path, **options) as gateway:
        until(lambda: gateway.get("/readyz")[0] == 200)
        assert post(gateway, said()) == 200
        gateway.gateway.settle_all()
        directly = rows_of(gateway.connection)
        for table in ("event_logs", "model_cost_logs", "span_contents", "call_registry", "call_reports"):
            gateway.connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
        proxy.refuse()

        assert post(gateway, said()) == 200

        assert (CANARY.encode() in gateway.on_disk()) == is_readable
        assert b"organization" in gateway.on_disk()
        for path in files(tmp_path, "*.spool"):
            assert path.stat().st_mode & 0o077 == 0
        proxy.speak()
        gateway.until_drained()
        gateway.gateway.settle_all()
        assert rows_of(gateway.connection) == directly
        assert len(directly[1]) == 1


def test_what_an_older_key_sealed_is_read_and_what_no_key_opens_is_kept(
    database: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    proxy.refuse()
    with running(database, proxy.url(database), tmp_path, ENCRYPTION_KEYS=OLD_KEY) as gateway:
        assert post(gateway, said()) == 200
    proxy.speak()

    with running(database, proxy.url(database), tmp_path) as gateway:
        until(lambda: gateway.metric("otel_obs_spool_damaged_total") == 1)
        gateway.until_drained()
        assert present(gateway.connection) == []
    (kept,) = files(tmp_path, "*.unreadable")
    folder = kept.parent / "owner-back"
    folder.mkdir()
    kept.rename(folder / kept.name.removesuffix(".unreadable"))

    with running(database, proxy.url(database), tmp_path, ENCRYPTION_KEYS=KEYS) as gateway:
        until(lambda: len(present(gateway.connection)) == 20)


def test_records_of_tenants_that_were_deleted_meanwhile_are_dropped_and_counted(
    database: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    with running(database, proxy.url(database), tmp_path, ORGANIZATION_ID="gone") as gateway:
        ledger = gateway.ledger(bad=True, spans=50)
        until(lambda: gateway.get("/readyz")[0] == 200)
        assert ledger.send(0)
        proxy.refuse()
        assert ledger.send(1)
        gateway.connection.execute("DELETE FROM organizations WHERE id = 'gone'")

        proxy.speak()

        gateway.until_drained()
        assert gateway.get("/metrics")[1].count('otel_obs_spool_records_total{kind="deleted"} 49.0') == 1
        for table in ("event_logs", "quarantine", "organizations", "workspaces"):
            found = gateway.connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
            assert found.fetchone() == (0,), table


def test_a_request_on_disk_that_cannot_be_read_after_all_goes_to_quarantine_once(
    database: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    folder = tmp_path / "spool" / f"gateway-{fingerprint(proxy.url(database))}"
    spool = Spool(folder)
    header: dict[str, Any] = {
        "v": 1, "signal": "traces", "encoding": "protobuf", "organization": "acme", "workspace": None,
        "bound_workspace": "w", "key": "k", "default_organization": "d", "default_workspace": "dw",
        "received_at": "2026-11-20T10:00:00+00:00", "records": 3,
    }  # fmt: skip
    spool.append([Record(header, b"\xff no message"), Record(header, b"\xff no message")])
    spool.close()

    with running(database, proxy.url(database), tmp_path) as gateway:
        until(lambda: gateway.metric("otel_obs_spool_records_total") == 6)

        found = gateway.connection.execute(
            "SELECT organization_id, workspace_id, reason, format, payload FROM quarantine"
        ).fetchall()
        assert set(found) == {("acme", "w", "not_decodable", "request/protobuf", b"\xff no message")}
        assert gateway.ledger().send(0)


def test_each_metric_is_documented_by_its_name_and_nothing_else_is(gateway: Running) -> None:
    assert gateway.ledger(bad=True, spans=50).send(0)
    shown = set(re.findall(r"^# TYPE (\w+) \w+$", gateway.get("/metrics")[1], re.MULTILINE))

    documented = set(re.findall(r"^\| `(otel_obs_\w+)", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))

    elsewhere = {name for name in documented if name.startswith(("otel_obs_maintenance_", "otel_obs_workers"))}
    assert {name for name in shown if not name.endswith("_created")} == documented - elsewhere


def test_nothing_that_a_log_says_quotes_what_was_sent(
    gateway: Running, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.trap = Trap(b"COMMIT", passes=False, cuts=True)
    assert post(gateway, said()) == 200
    proxy.refuse()
    assert post(gateway, said(1)) == 200
    proxy.speak()
    gateway.until_drained()

    assert CANARY not in caplog.text


def test_what_waits_is_drained_at_twice_the_rate_of_what_comes(gateway: Running, proxy: FaultProxy) -> None:
    ledger = gateway.ledger(spans=100)
    proxy.refuse()
    assert ledger.send_all(range(60))
    came, stop = threading.Event(), threading.Event()
    fresh = gateway.ledger(seed=2, spans=20)

    def keep_coming() -> None:
        number = 0
        while not stop.is_set():
            assert fresh.send(number)
            number += 1
            came.set()
            time.sleep(0.1)

    sender = threading.Thread(target=keep_coming)
    sender.start()
    assert came.wait(10)
    before = len(fresh.acked)
    proxy.speak()
    waited_for = ledger.keys(ledger.acked)
    until(lambda: waited_for <= set(present(gateway.connection)), 60)
    arrived = (len(fresh.acked) - before) * fresh.spans
    stop.set()
    sender.join()

    gateway.until_drained()
    assert len(waited_for) == 6000 >= 2 * arrived
    assert adds_up(gateway.connection, ledger, fresh)["refused"] == 0
