"""PostgreSQL away for some minutes at a steady load: what waits on disk, and how fast and in which order it leaves.

``make outage MINUTES=3``; large spans: ``python -m tests.chaos.outage 1 --rate 50 --prompt 200000``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import psycopg

from tests.chaos.soak import LONG_PROMPT, MIB, SPANS_IN_BATCH, WAYS, keep_sending, machine
from tests.gateway_process import GatewayProcess
from tests.ledger import Ledger, adds_up
from tests.private_postgres import PrivatePostgres, private_postgres

BEFORE_S = 5.0
"""How long the load runs before the server goes."""
DRAINED_WITHIN_S = 1800.0
DRAINED = "otel_obs_spool_records_total"


@dataclass
class Outage:
    """What is seen while it lasts, and after it."""

    gateway: GatewayProcess
    ledgers: Sequence[Ledger]
    spool_bytes: list[float] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    lag_s: list[float] = field(default_factory=list)
    out_of_order: int = 0
    """Times at which something was there though something older of the same sender still waited."""

    def look(self) -> None:
        """Note what is on disk and in memory."""
        self.spool_bytes.append(self.gateway.metric("otel_obs_spool_bytes"))
        self.lag_s.append(self.gateway.metric("otel_obs_lag_seconds"))
        self.resident.append(self.gateway.resident_bytes())

    def acked(self) -> int:
        """Return how many spans were acknowledged."""
        return sum(len(ledger.acked) * ledger.spans for ledger in self.ledgers)

    def waiting(self, after: Sequence[int]) -> list[list[str]]:
        """Return the traces that are on disk, oldest first, by sender: those acknowledged beyond *after* so many."""
        found = []
        for ledger, known in zip(self.ledgers, after, strict=True):
            with ledger.lock:
                numbers = sorted(ledger.acked)[known + 1 :]
            found.append([ledger.trace_id(number).hex() for number in numbers])
        return found

    def check_order(self, connection: psycopg.Connection, waiting: Sequence[Sequence[str]]) -> None:
        """See whether what has left the disk is what waited longest."""
        found = {row[0] for row in connection.execute("SELECT DISTINCT trace_id FROM event_logs").fetchall()}
        for traces in waiting:
            there = [trace in found for trace in traces]
            self.out_of_order += there != sorted(there, reverse=True)


def run(minutes: float, *, rate: int = 500, prompt: int = 0) -> dict[str, object]:
    """Return the report; raises where something was lost."""
    folder = Path(tempfile.mkdtemp(prefix="ooo", dir="/tmp"))
    try:
        with private_postgres() as server:
            gateway = GatewayProcess(server.url, folder / "data")
            gateway.start()
            try:
                gateway.ready()
                return _measured(server, gateway, minutes, rate, prompt)
            finally:
                gateway.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measured(
    server: PrivatePostgres, gateway: GatewayProcess, minutes: float, rate: int, prompt: int
) -> dict[str, object]:
    spans = SPANS_IN_BATCH if prompt < LONG_PROMPT else SPANS_IN_BATCH // 10
    ledgers = [gateway.ledger(way, seed=n + 1, spans=spans, prompt=prompt) for n, way in enumerate(WAYS)]
    seen, stop = Outage(gateway, ledgers), threading.Event()
    answers_s: list[float] = []
    pause_s = spans * len(ledgers) / rate
    threads = [threading.Thread(target=keep_sending, args=(ledger, stop, pause_s, answers_s)) for ledger in ledgers]
    for thread in threads:
        thread.start()
    try:
        time.sleep(BEFORE_S)
        server.kill()
        # A request that was under way when the server went may have been committed.
        after = [len(ledger.acked) for ledger in ledgers]
        until = time.monotonic() + minutes * 60
        while time.monotonic() < until:
            seen.look()
            time.sleep(1)
        waiting = seen.waiting(after)
        server.start()
        server.ready()
        began, arrived, drained = time.monotonic(), seen.acked(), gateway.metric(DRAINED)
        with server.connect() as connection:
            while gateway.metric("otel_obs_spool_bytes") and time.monotonic() < began + DRAINED_WITHIN_S:
                seen.look()
                seen.check_order(connection, waiting)
                time.sleep(0.25)
        took_s = time.monotonic() - began
        arrived, drained = seen.acked() - arrived, round(gateway.metric(DRAINED) - drained)
    finally:
        stop.set()
        for thread in threads:
            thread.join(120)
    gateway.until_drained(300)
    with server.connect() as connection:
        balance = adds_up(connection, *ledgers)
    return {
        "at": datetime.now(tz=timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "away_minutes": minutes,
        "spool_mib": round(max(seen.spool_bytes) / MIB, 1),
        "lag_s": round(max(seen.lag_s)),
        "drained": {"spans": drained, "seconds": round(took_s, 1), "spans_a_second": round(drained / took_s)},
        "arrived_meanwhile": {"spans": arrived, "spans_a_second": round(arrived / took_s)},
        "out_of_order": seen.out_of_order,
        **balance,
        "slowest_answer_s": round(max(ledger.slowest_s for ledger in ledgers), 2),
        "resident_mib_max": max(seen.resident) // MIB,
    }


def main() -> None:
    """Read the command line, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=3.0)
    parser.add_argument("--rate", type=int, default=500, help="spans a second")
    parser.add_argument("--prompt", type=int, default=0, help="characters of a prompt in each span")
    given = parser.parse_args()
    print(json.dumps(run(given.minutes, rate=given.rate, prompt=given.prompt), indent=2))  # noqa: T201  # the report


if __name__ == "__main__":
    main()
