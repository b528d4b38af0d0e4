"""A steady load for some minutes, with a fault every minute; then a balance by id. ``make soak MINUTES=10``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from tests.fault_proxy import FaultProxy
from tests.gateway_process import GatewayProcess
from tests.ledger import Ledger, adds_up, roll_up_now
from tests.private_postgres import PrivatePostgres, private_postgres

WAYS = ("protobuf", "json", "grpc")
SPANS_IN_BATCH = 50
MIB = 1024 * 1024


@dataclass
class Soak:
    """What runs, and what was seen of it."""

    server: PrivatePostgres
    proxy: FaultProxy
    gateway: GatewayProcess
    every_s: float
    answers_s: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    connections: list[int] = field(default_factory=list)

    def kill_server(self) -> None:
        """Kill PostgreSQL; it comes back after a while."""
        self.server.kill()
        time.sleep(min(5.0, self.every_s / 4))
        self.server.start()
        self.server.ready()

    def kill_gateway(self) -> None:
        """Kill the gateway; it comes back at once."""
        self.gateway.kill()
        self.gateway.start()
        self.gateway.healthy()

    def silence_wire(self) -> None:
        """Let nothing through between them."""
        self.proxy.silence()
        time.sleep(min(15.0, self.every_s / 3))
        self.proxy.speak()

    def replace_gateway(self) -> None:
        """Stop the gateway as an operator does, and start the next."""
        if self.gateway.stop() != 0:
            raise AssertionError("the gateway did not stop cleanly")
        self.gateway.start()
        self.gateway.ready()

    def cut_wire(self) -> None:
        """Reset all connections between them."""
        self.proxy.reset()

    def look(self) -> None:
        """Note what the gateway holds."""
        process = self.gateway.process
        if process is None:
            return
        self.resident.append(self.gateway.resident_bytes())
        self.descriptors.append(len(list(Path(f"/proc/{process.pid}/fd").iterdir())))


def run(minutes: float, *, every_s: float = 60.0, rate: int = 300) -> dict[str, object]:
    """Return the report; raises where something was lost."""
    folder = Path(tempfile.mkdtemp(prefix="oos", dir="/tmp"))
    try:
        with private_postgres() as server:
            proxy = FaultProxy("127.0.0.1", server.port)
            gateway = GatewayProcess(proxy.url(server.url), folder / "data")
            gateway.start()
            try:
                gateway.ready()
                return _soak(Soak(server, proxy, gateway, every_s), minutes, rate)
            finally:
                gateway.kill()
                proxy.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _soak(soak: Soak, minutes: float, rate: int) -> dict[str, object]:
    ledgers = [soak.gateway.ledger(way, seed=index + 1, spans=SPANS_IN_BATCH, bad=1) for index, way in enumerate(WAYS)]
    stop = threading.Event()
    pause_s = SPANS_IN_BATCH * len(WAYS) / rate
    threads = [
        threading.Thread(target=send_steadily, args=(ledger, stop, pause_s, soak.answers_s)) for ledger in ledgers
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    try:
        _disturb(soak, began + minutes * 60)
    finally:
        stop.set()
        for thread in threads:
            thread.join(120)
    took_s = time.monotonic() - began
    soak.gateway.until_drained(300)
    with soak.server.connect() as connection:
        balance = adds_up(connection, *ledgers)
        sessions = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
        found = sessions.fetchone()
    cuts = statistics.quantiles(soak.answers_s, n=100)
    return {
        "at": datetime.now(tz=timezone.utc).isoformat(timespec="seconds"),
        "minutes": round(took_s / 60, 1),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, everything on it",
        "faults": soak.faults,
        "spans_a_second": round(balance["acknowledged"] / took_s),
        **balance,
        "answer_ms": {"p50": round(cuts[49] * 1000), "p99": round(cuts[98] * 1000),
                      "max": round(max(soak.answers_s) * 1000)},
        "resident_mib": {"median": round(statistics.median(soak.resident) / MIB), "max": max(soak.resident) // MIB},
        "descriptors_max": max(soak.descriptors),
        "database_sessions": 0 if found is None else found[0],
    }  # fmt: skip


def send_steadily(ledger: Ledger, stop: threading.Event, pause_s: float, answers_s: list[float]) -> None:
    """Send a batch every *pause_s* seconds, each until it is acknowledged, and note how long the quick ones took."""
    number = 0
    while not stop.is_set():
        began = time.monotonic()
        if ledger.send(number):
            answers_s.append(time.monotonic() - began)
        elif not ledger.insist(number, 120):
            raise AssertionError(f"batch {number} was never acknowledged")
        number += 1
        stop.wait(max(0.0, pause_s - (time.monotonic() - began)))
    ledger.close()


def _disturb(soak: Soak, until: float) -> None:
    kinds: list[Callable[[], None]] = [
        soak.kill_server, soak.kill_gateway, soak.silence_wire, soak.replace_gateway, soak.cut_wire,
    ]  # fmt: skip
    next_at = time.monotonic() + soak.every_s / 2
    while time.monotonic() < until:
        soak.look()
        if time.monotonic() >= next_at:
            fault = kinds[len(soak.faults) % len(kinds)]
            soak.faults.append(fault.__name__)
            fault()
            with soak.server.connect() as connection:
                roll_up_now(connection)
            next_at += soak.every_s
        time.sleep(0.5)


def main() -> None:
    """Read the command line, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=10.0)
    parser.add_argument("--every", type=float, default=60.0, help="seconds between two faults")
    parser.add_argument("--rate", type=int, default=300, help="spans a second")
    given = parser.parse_args()
    report = run(given.minutes, every_s=given.every, rate=given.rate)
    print(json.dumps(report, indent=2))  # noqa: T201  # that is what it is for


if __name__ == "__main__":
    main()
