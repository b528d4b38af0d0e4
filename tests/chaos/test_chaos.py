"""Servers and gateways killed, frozen, filled and starved under load: what was acknowledged is there, once.

Run by ``make chaos``; each scenario is bounded, starts its own processes and ends them.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from typing_extensions import Self

from otel_obs.postgres import audit
from tests.chaos import fuzz
from tests.command import environment
from tests.fault_proxy import FaultProxy, Trap
from tests.folders import files
from tests.gateway_process import GatewayProcess
from tests.ledger import EXPORT, Ledger, adds_up, present, roll_up_now
from tests.private_postgres import PrivatePostgres, private_postgres
from tests.waiting import until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]
WAYS = ("protobuf", "json", "grpc")
MIB = 1024 * 1024
HEAD = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"


@pytest.fixture
def server() -> Iterator[PrivatePostgres]:
    with private_postgres() as found:
        yield found


@pytest.fixture
def proxy(server: PrivatePostgres) -> Iterator[FaultProxy]:
    found = FaultProxy("127.0.0.1", server.port)
    yield found
    found.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    found = Path(tempfile.mkdtemp(prefix="oog", dir="/tmp"))
    yield found / "data"
    shutil.rmtree(found, ignore_errors=True)


@contextmanager
def gateway_of(url: str, folder: Path, **settings: str) -> Iterator[GatewayProcess]:
    found = GatewayProcess(url, folder, **settings)
    found.start()
    try:
        found.healthy()
        yield found
    finally:
        found.kill()


class Load:
    """Senders that send one batch after the other, each until it is acknowledged."""

    def __init__(self, ledgers: Sequence[Ledger], pause_s: float = 0.05) -> None:
        self.ledgers = ledgers
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(ledger,)) for ledger in ledgers]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()

    def _run(self, ledger: Ledger) -> None:
        number = 0
        while not self._stop.is_set():
            ledger.insist(number)
            number += 1
            self._stop.wait(self._pause_s)

    @property
    def count(self) -> int:
        return sum(len(ledger.acked) for ledger in self.ledgers)

    def wait_for(self, more: int) -> None:
        goal = self.count + more
        until(lambda: self.count >= goal, 60)


def told(name: str, balance: dict[str, int], ledgers: Sequence[Ledger]) -> None:
    slowest = max(ledger.slowest_s for ledger in ledgers)
    print(f"\n{name}: {balance}, slowest answer {slowest:.2f} s")  # noqa: T201  # the report of `make chaos`


def senders(gateway: GatewayProcess) -> list[Ledger]:
    return [gateway.ledger(way, seed=number + 1, bad=1) for number, way in enumerate(WAYS)]


def test_a_server_that_is_killed_twenty_times_under_load(server: PrivatePostgres, folder: Path) -> None:
    with gateway_of(server.url, folder) as gateway:
        ledgers = senders(gateway)
        with Load(ledgers) as load:
            for _ in range(20):
                load.wait_for(5)
                server.kill()
                load.wait_for(5)
                server.start()
                server.ready()
                with server.connect() as connection:
                    roll_up_now(connection)
        gateway.until_drained()

        with server.connect() as connection:
            balance = adds_up(connection, *ledgers)
        assert balance["refused"] == 0
        told("server killed 20 times", balance, ledgers)


def test_a_backend_that_is_killed_in_the_middle(server: PrivatePostgres, folder: Path) -> None:
    """All sessions are lost with it: the server restarts them."""
    with gateway_of(server.url, folder) as gateway:
        ledgers = senders(gateway)
        with Load(ledgers) as load:
            for _ in range(8):
                load.wait_for(3)
                with suppressed(), server.connect() as connection:
                    found = connection.execute(
                        "SELECT pid FROM pg_stat_activity WHERE application_name = 'otel_obs' ORDER BY state LIMIT 1"
                    ).fetchone()
                    if found is not None:
                        os.kill(found[0], signal.SIGKILL)
                server.ready()
        gateway.until_drained()

        with server.connect() as connection:
            balance = adds_up(connection, *ledgers)
        assert balance["refused"] == 0
        told("backends killed", balance, ledgers)


@contextmanager
def suppressed() -> Iterator[None]:
    try:
        yield
    except psycopg.Error:
        return


STAGES = {
    "before the body is whole": None,
    "after it was read, before anything was written": Trap(b"admit_batch", passes=False, cuts=False),
    "after the rows were sent, before COMMIT": Trap(b"COMMIT", passes=False, cuts=False),
    "after COMMIT, before the answer": Trap(b"COMMIT", passes=True, cuts=False),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_gateway_that_is_killed_at_a_stage(
    stage: str, server: PrivatePostgres, proxy: FaultProxy, folder: Path
) -> None:
    with gateway_of(proxy.url(server.url), folder) as gateway:
        gateway.ready()
        ledger = gateway.ledger()
        assert ledger.send(0)
        trap = STAGES[stage]
        if trap is None:
            half_a_request(gateway, ledger.request(1).SerializeToString())
        else:
            proxy.trap = Trap(trap.word, trap.passes, trap.cuts)
            sprung = proxy.trap.sprung
            sender = threading.Thread(target=ledger.send, args=(1,))
            sender.start()
            assert sprung.wait(10)
            gateway.kill()
            sender.join()
            assert ledger.doubtful == {1}
        gateway.kill()
        proxy.reset()
        proxy.speak()

        gateway.start()
        gateway.ready()

        assert ledger.insist(1)
        gateway.until_drained()
        with server.connect() as connection:
            assert adds_up(connection, ledger)["committed"] == 40


def half_a_request(gateway: GatewayProcess, body: bytes) -> None:
    host, _, port = gateway.http.partition(":")
    with socket.create_connection((host, int(port))) as sender:
        head = f"{HEAD}content-length: {len(body)}\r\n\r\n"
        sender.sendall(head.encode() + body[: len(body) // 2])
        time.sleep(0.3)
        gateway.kill()


def test_a_gateway_that_is_killed_again_and_again_while_its_server_is_away(
    server: PrivatePostgres, folder: Path
) -> None:
    with gateway_of(server.url, folder) as gateway:
        ledgers = senders(gateway)
        with Load(ledgers) as load:
            load.wait_for(3)
            server.kill()
            for _ in range(5):
                load.wait_for(10)
                gateway.kill()
                for segment in files(folder, "*.spool")[-1:]:
                    with segment.open("ab") as file:
                        file.write(b"half a record")
                gateway.start()
                gateway.healthy()
            load.wait_for(5)
            server.start()
            server.ready()
            for _ in range(3):
                # In the middle of draining: what is committed and not yet forgotten comes twice to the database.
                until(
                    lambda: (
                        gateway.metric("otel_obs_spool_records_total") > 0
                        or gateway.metric("otel_obs_spool_bytes") == 0
                    ),
                    60,
                )
                gateway.kill()
                gateway.start()
                gateway.healthy()
            load.wait_for(5)
        gateway.until_drained()

        with server.connect() as connection:
            balance = adds_up(connection, *ledgers)
        told("gateway killed while the server is away", balance, ledgers)


def test_a_disk_that_is_full_refuses_and_takes_again_by_itself(server: PrivatePostgres, folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        with gateway_of(server.url, folder) as gateway:
            gateway.ready()
            server.kill()
            ledger = gateway.ledger(padding=2000)
            number = 0
            while ledger.send(number):
                number += 1
                assert number < 100
            assert ledger.refused == {number: 503}

            server.start()
            server.ready()

            gateway.until_drained()
            assert ledger.insist(number)
            with server.connect() as connection:
                balance = adds_up(connection, ledger)
            assert balance["committed"] == (number + 1) * 20
            told("spool disk full", balance, [ledger])
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_file_that_may_not_grow_refuses_and_leaves_no_half_record(server: PrivatePostgres, folder: Path) -> None:
    """EFBIG in place of ENOSPC: also without root."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    server.kill()
    gateway = GatewayProcess(server.url, folder)
    gateway.start(limits=limit)
    try:
        gateway.healthy()
        ledger = gateway.ledger(padding=500)
        number = 0
        while ledger.send(number):
            number += 1
            assert number < 100
        assert ledger.refused == {number: 503}
        server.start()
        server.ready()
        gateway.until_drained()
        assert gateway.metric("otel_obs_spool_damaged_total") == 0
        assert ledger.insist(number)
        with server.connect() as connection:
            adds_up(connection, ledger)
    finally:
        gateway.kill()


FIU = Path("/usr/lib/fiu")


def test_a_disk_whose_fsync_fails_is_not_believed_again(server: PrivatePostgres, folder: Path) -> None:
    """After a failed fsync nobody knows what is on disk: no acknowledgement, and another segment."""
    if not (FIU / "fiu_posix_preload.so").exists():
        pytest.skip("libfiu is not installed: make faults")
    fifo = folder.with_name("fiu")
    libraries = f"{FIU}/fiu_run_preload.so {FIU}/fiu_posix_preload.so"
    gateway = GatewayProcess(server.url, folder)
    gateway.environment |= {"LD_PRELOAD": libraries, "FIU_CTRL_FIFO": str(fifo)}
    gateway.start()
    try:
        gateway.ready()
        server.kill()
        ledger = gateway.ledger()
        assert ledger.send_all(range(3))

        fiu(gateway, fifo, "enable name=posix/io/sync/fsync,failinfo=5")
        for number in range(3, 6):
            assert not ledger.send(number)
        segments = files(folder, "*.spool")
        fiu(gateway, fifo, "disable name=posix/io/sync/fsync")

        assert ledger.refused == {3: 503, 4: 503, 5: 503}
        assert len(segments) >= 3
        sizes = {path: path.stat().st_size for path in segments}
        assert ledger.send_all(range(6, 9))
        assert {path: path.stat().st_size for path in segments} == sizes
        server.start()
        server.ready()
        gateway.until_drained()
        assert ledger.send_all(range(3, 6))
        with server.connect() as connection:
            balance = adds_up(connection, ledger)
        assert balance["committed"] == 9 * 20
        told("fsync failed", balance, [ledger])
    finally:
        gateway.kill()


def fiu(gateway: GatewayProcess, fifo: Path, order: str) -> None:
    assert gateway.process is not None
    subprocess.run(["fiu-ctrl", "-f", str(fifo), "-c", order, str(gateway.process.pid)], check=True)


def test_a_server_that_is_restored_to_an_earlier_moment_is_filled_in_by_senders(
    server: PrivatePostgres, folder: Path
) -> None:
    """A base backup taken under load; what came after it is told by the audit chain, and sent again."""
    backup = server.folder / "backup"
    with gateway_of(server.url, folder) as gateway:
        gateway.ready()
        ledgers = senders(gateway)
        seal = [sys.executable, "-m", "otel_obs", "org", "set"]
        with Load(ledgers) as load:
            load.wait_for(10)
            server.run("pg_basebackup", "-h", "127.0.0.1", "-p", str(server.port), "-U", "test", "-D", str(backup),
                       "-c", "fast", "-X", "stream")  # fmt: skip
            subprocess.run([*seal, "late", "--plan", "free", "--database-url", server.url], check=True,
                           env=environment(), stdout=subprocess.DEVNULL)  # fmt: skip
            with server.connect() as connection:
                before = audit.verify(connection)
            load.wait_for(10)
            server.kill()
            load.wait_for(5)
            server.restore(backup)
            server.start()
            server.ready()
            load.wait_for(10)
        gateway.until_drained()

        with server.connect() as connection:
            missing = set().union(*(ledger.keys(ledger.acked) for ledger in ledgers)) - set(present(connection))
            assert missing, "the backup was taken before something was acknowledged"
            after = audit.verify(connection)
            cut = audit.verify(connection, before.heads)
            for ledger in ledgers:
                assert ledger.send_all(sorted(ledger.sent))
            told("restored to an earlier moment", adds_up(connection, *ledgers), ledgers)
    assert (before.first_bad, after.first_bad) == (None, None)
    assert after.rows < before.rows
    assert cut.first_bad is not None


def test_a_database_whose_disk_is_full_sends_requests_to_the_spool(server: PrivatePostgres, folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    space = server.folder / "space"
    space.mkdir()
    options = f"size=12m,uid={server.folder.stat().st_uid},mode=700"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(space)], check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        with server.connect() as admin, gateway_of(server.url, folder) as gateway:
            admin.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
            gateway.ready()
            ledger = gateway.ledger(spans=100)
            assert ledger.send(0)
            partition = admin.execute("SELECT tableoid::regclass::text FROM event_logs LIMIT 1").fetchone()
            assert partition is not None
            admin.execute(f"ALTER TABLE {partition[0]} SET TABLESPACE small")
            fill(space)

            assert ledger.send_all(range(1, 30))
            assert gateway.metric("otel_obs_records_spooled_total") > 0
            costs = subprocess.run(
                [sys.executable, "-m", "otel_obs", "costs", "--by", "model", "--json", "--database-url", server.url],
                env=environment(), check=True, capture_output=True,
            )  # fmt: skip
            assert json.loads(costs.stdout)["total"]["calls"] == 10

            (space / "ballast").unlink()
            gateway.until_drained()
            told("tablespace full", adds_up(admin, ledger), [ledger])
    finally:
        server.stop()
        subprocess.run(["umount", "-l", str(space)], check=True)


def fill(space: Path) -> None:
    try:
        with (space / "ballast").open("wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
    except OSError:
        return


def test_a_server_without_room_for_another_connection(folder: Path) -> None:
    with private_postgres(max_connections="6", superuser_reserved_connections="0") as server:
        taken = [server.connect() for _ in range(6)]
        with gateway_of(server.url, folder) as gateway:
            ledger = gateway.ledger()
            assert ledger.send_all(range(3))
            for connection in taken:
                connection.close()
            gateway.ready()
            gateway.until_drained()
            gateway.stop()
        with server.connect() as connection:
            assert adds_up(connection, ledger)["committed"] == 60


def test_a_gateway_that_is_frozen_for_a_while(server: PrivatePostgres, folder: Path) -> None:
    with gateway_of(server.url, folder) as gateway:
        ledgers = senders(gateway)
        with Load(ledgers) as load:
            load.wait_for(5)
            assert gateway.process is not None
            gateway.process.send_signal(signal.SIGSTOP)
            time.sleep(12)
            gateway.process.send_signal(signal.SIGCONT)
            load.wait_for(10)
        gateway.until_drained()
        with server.connect() as connection:
            told("gateway frozen", adds_up(connection, *ledgers), ledgers)


def test_a_server_that_is_frozen_holds_up_no_answer(server: PrivatePostgres, folder: Path) -> None:
    with gateway_of(server.url, folder) as gateway:
        gateway.ready()
        ledgers = senders(gateway)
        with Load(ledgers) as load:
            load.wait_for(5)
            server.signal(signal.SIGSTOP)
            load.wait_for(30)
            time.sleep(10)
            server.signal(signal.SIGCONT)
            load.wait_for(10)
        gateway.until_drained()
        with server.connect() as connection:
            balance = adds_up(connection, *ledgers)
        assert balance["refused"] == 0
        told("server frozen", balance, ledgers)


def test_gateways_are_replaced_one_after_the_other_under_load(server: PrivatePostgres, folder: Path) -> None:
    with gateway_of(server.url, folder) as gateway:
        ledgers = senders(gateway)
        with Load(ledgers) as load:
            for _ in range(5):
                load.wait_for(8)
                began = time.monotonic()
                assert gateway.stop() == 0
                assert time.monotonic() - began < 30
                gateway.start()
                gateway.ready()
        with server.connect() as connection:
            balance = adds_up(connection, *ledgers)
        assert balance["refused"] == 0
        told("rolling restarts", balance, ledgers)


def test_memory_stays_below_its_limit_while_the_server_is_away(server: PrivatePostgres, folder: Path) -> None:
    limit = 500 * MIB
    with gateway_of(server.url, folder, MAX_MEMORY_BYTES=str(limit), SPOOL_MAX_BYTES=str(64 * MIB)) as gateway:
        gateway.ready()
        server.kill()
        ledgers = [gateway.ledger(WAYS[n % 3], seed=n + 1, spans=1000, padding=1000) for n in range(6)]
        highest, until, stop = 0, time.monotonic() + 30, threading.Event()
        threads = [threading.Thread(target=flood, args=(ledger, stop)) for ledger in ledgers]
        for thread in threads:
            thread.start()
        while time.monotonic() < until:
            highest = max(highest, gateway.resident_bytes())
            time.sleep(0.05)
        stop.set()
        for thread in threads:
            thread.join()
        assert highest < limit
        assert gateway.status("/healthz") == 200
        refusals = {code for ledger in ledgers for code in ledger.refused.values()}
        assert refusals <= {503, 14}
        server.start()
        server.ready()
        gateway.until_drained(120)
        with server.connect() as connection:
            balance = adds_up(connection, *ledgers)
        told(f"overload (at most {highest // MIB} MiB of {limit // MIB})", balance, ledgers)


def flood(ledger: Ledger, stop: threading.Event) -> None:
    number = 0
    while not stop.is_set():
        if not ledger.send(number):
            stop.wait(0.3)
        number += 1


def test_hostile_clients_harm_nobody(server: PrivatePostgres, folder: Path) -> None:
    with gateway_of(server.url, folder) as gateway:
        gateway.ready()
        host, _, port = gateway.http.partition(":")
        slow = [socket.create_connection((host, int(port))) for _ in range(100)]
        for one in slow[:50]:
            one.sendall(b"POST /v1/traces HTTP/1.1\r\nhost: x\r\n")
        for one in slow[50:]:
            one.sendall(f"{HEAD}content-length: 60000000\r\n\r\n".encode())
            one.sendall(bytes(1000))
        channel = grpc.insecure_channel(gateway.grpc)
        release = threading.Event()

        def never() -> Iterator[bytes]:
            release.wait(120)
            yield b""

        stalled = [channel.stream_unary(EXPORT, None, None).future(never(), timeout=100) for _ in range(30)]
        ledgers = senders(gateway)
        try:
            with Load(ledgers) as load:
                load.wait_for(60)
                dripped(slow[:50], 15)
            slowest = max(ledger.slowest_s for ledger in ledgers)
            assert all(closed(one) for one in slow[:50])
            until(lambda: all(call.done() for call in stalled), 60)
        finally:
            release.set()
            channel.close()
            for one in slow:
                one.close()
        assert slowest < 3
        with server.connect() as connection:
            told("hostile clients", adds_up(connection, *ledgers), ledgers)


def dripped(sockets: Sequence[socket.socket], seconds: float) -> None:
    """Send a byte of a head each second."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for one in sockets:
            try:
                one.sendall(b"x")
            except OSError:  # noqa: PERF203  # it was closed, as it should be
                continue
        time.sleep(1)


def closed(one: socket.socket) -> bool:
    one.settimeout(5)
    try:
        return one.recv(1000) == b"" or one.recv(1000) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_noise_on_each_way_is_answered_as_the_contract_says(server: PrivatePostgres, folder: Path) -> None:
    """Damaged captures for half a minute: no other answer, no hang, no growth, each record accounted for."""
    with gateway_of(server.url, folder) as gateway:
        gateway.ready()
        chance, bodies, resident = random.Random(), fuzz.seeds(), list[int]()
        ledger = gateway.ledger()
        until = time.monotonic() + 30
        while time.monotonic() < until:
            way, body = chance.choice(WAYS), fuzz.damaged(chance, bodies)
            began = time.monotonic()
            assert answered(gateway, way, body) in {200, 400, 413, 0, 3, 8}, body[:2000]
            assert time.monotonic() - began < 3, body[:2000]
            resident.append(gateway.resident_bytes())
            assert ledger.send(0)
        half = len(resident) // 2
        assert max(resident[half:]) < max(resident[:half]) + 50 * MIB
        became = ("stored", "duplicate", "replaced", "rejected", "dropped")
        counts = {name: gateway.metric(f"otel_obs_records_{name}_total") for name in ("received", *became)}
        assert counts["received"] == sum(max(0.0, counts[name]) for name in became), counts
        print(f"\n{len(resident)} damaged requests: {counts}, at most {max(resident) // MIB} MiB")  # noqa: T201


def answered(gateway: GatewayProcess, way: str, body: bytes) -> int:
    """Return the status of HTTP, or the code of gRPC."""
    if way == "grpc":
        with grpc.insecure_channel(gateway.grpc) as channel:
            try:
                channel.unary_unary(EXPORT, None, None)(body, timeout=10)
            except grpc.RpcError as error:
                failed: Any = error
                return int(failed.code().value[0])
            return 0
    connection = http.client.HTTPConnection(gateway.http, timeout=10)
    try:
        kind = "application/json" if way == "json" else "application/x-protobuf"
        connection.request("POST", "/v1/traces", body, {"content-type": kind})
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_session_whose_gateway_has_vanished_ends_on_the_server(
    server: PrivatePostgres, proxy: FaultProxy, folder: Path
) -> None:
    """The wire falls silent in a transaction: the gateway answers in time, and the server lets go of its locks."""
    with gateway_of(proxy.url(server.url), folder) as gateway, server.connect() as admin:

        def open_transactions() -> int:
            found = admin.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'otel_obs' "
                "AND state LIKE 'idle in transaction%'"
            ).fetchone()
            return 0 if found is None else int(found[0])

        gateway.ready()
        ledger = gateway.ledger()
        assert ledger.send(0)
        trap = proxy.trap = Trap(b"COMMIT", passes=False, cuts=False)
        number = 0
        while not trap.sprung.is_set():
            number += 1
            assert ledger.send(number)
        assert ledger.slowest_s < 3
        assert open_transactions() > 0

        until(lambda: open_transactions() == 0, 45)

        proxy.speak()
        gateway.until_drained()
        told("silence in a transaction", adds_up(admin, ledger), [ledger])
