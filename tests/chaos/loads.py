"""Loads that take minutes, each with a balance by id and what was measured, as JSON.

``make outage MINUTES=10``: PostgreSQL is away for so long while spans come, and comes back. ``make overload``: more
than the machine can take. ``make large``: prompts of 200 KB.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos.soak import MIB, WAYS, send_steadily
from tests.gateway_process import GatewayProcess
from tests.ledger import Ledger, adds_up
from tests.private_postgres import PrivatePostgres, private_postgres

ANSWERED_WITHIN_S = 3.0
AGAIN = {503, 429, 14}
"""What tells a sender to come again: HTTP, and gRPC's UNAVAILABLE."""
DRAINED = "otel_obs_spool_records_total"


@contextmanager
def running(**settings: str) -> Iterator[tuple[PrivatePostgres, GatewayProcess]]:
    """Give a server and a gateway in front of it."""
    folder = Path(tempfile.mkdtemp(prefix="ool", dir="/tmp"))
    try:
        with private_postgres() as server:
            gateway = GatewayProcess(server.url, folder / "data", **settings)
            gateway.start()
            try:
                gateway.ready()
                yield server, gateway
            finally:
                gateway.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def steady(gateway: GatewayProcess, rate: float, **more: int) -> Iterator[tuple[list[Ledger], list[float]]]:
    """Send *rate* spans a second on each way at once, while inside."""
    ledgers = [gateway.ledger(way, seed=number + 1, **more) for number, way in enumerate(WAYS)]
    stop, answers_s = threading.Event(), list[float]()
    pause_s = ledgers[0].spans * len(WAYS) / rate
    threads = [threading.Thread(target=send_steadily, args=(one, stop, pause_s, answers_s)) for one in ledgers]
    for thread in threads:
        thread.start()
    try:
        yield ledgers, answers_s
    finally:
        stop.set()
        for thread in threads:
            thread.join(120)


def outage(minutes: float, rate: int) -> dict[str, Any]:
    """Let PostgreSQL be away for *minutes*; what is on disk must leave it oldest first, twice as fast as spans come."""
    with running() as (server, gateway):
        with steady(gateway, rate, spans=50, padding=600) as (ledgers, answers_s):
            time.sleep(5)
            server.kill()
            away_at = datetime.now(tz=timezone.utc)
            resident = watched(gateway, minutes * 60)
            back_at = datetime.now(tz=timezone.utc)
            spool_bytes = gateway.metric("otel_obs_spool_bytes")
            server.start()
            server.ready()
            drain = drained(gateway, ledgers)
            time.sleep(5)
        gateway.until_drained()
        with server.connect() as connection:
            balance = adds_up(connection, *ledgers)
            late_s = out_of_order_s(connection, away_at, back_at)
    spooled = drain["spans"]
    assert balance["refused"] == 0
    assert drain["spans_a_second"] >= 2 * drain["arriving_a_second"], drain
    assert late_s < ANSWERED_WITHIN_S, f"not the oldest first: {late_s} s"
    return {
        "spool_mib": round(spool_bytes / MIB, 1), "bytes_a_span": round(spool_bytes / spooled), "drain": drain,
        "out_of_order_s": late_s, "resident_mib": max(resident) // MIB, **told(balance, answers_s),
    }  # fmt: skip


def watched(gateway: GatewayProcess, seconds: float) -> list[int]:
    """Return what the gateway held meanwhile."""
    found, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        found.append(gateway.resident_bytes())
        time.sleep(0.2)
    return found


def drained(gateway: GatewayProcess, ledgers: Sequence[Ledger]) -> dict[str, float]:
    """Return how fast what is on disk leaves it, and how fast spans come meanwhile."""
    before = sum(len(ledger.acked) for ledger in ledgers)
    began = time.monotonic()
    while gateway.metric("otel_obs_spool_bytes") > 0:
        time.sleep(0.1)
    took_s = time.monotonic() - began
    spans, came = gateway.metric(DRAINED), sum(len(ledger.acked) for ledger in ledgers) - before
    return {
        "spans": spans, "seconds": round(took_s, 1), "spans_a_second": round(spans / took_s),
        "arriving_a_second": round(came * ledgers[0].spans / took_s),
    }  # fmt: skip


def out_of_order_s(connection: psycopg.Connection, since: datetime, until: datetime) -> float:
    """Return by how much any span that came while PostgreSQL was away was written before an older one (seconds)."""
    rows = connection.execute(
        "SELECT min(received_at), max(received_at) FROM event_logs WHERE received_at BETWEEN %s AND %s "
        "AND event_type = 'span' GROUP BY xmin ORDER BY xmin::text::bigint",
        (since, until),
    ).fetchall()
    worst, newest = 0.0, since
    for first, last in rows:
        worst = max(worst, (newest - first).total_seconds())
        newest = max(newest, last)
    return round(worst, 3)


def overload(minutes: float, senders: int) -> dict[str, Any]:
    """Send as much as *senders* processes can, half of the time without a database, until the disk is full as well.

    Memory stays bounded, nobody hears anything but "come again", and what was refused arrives once afterwards.
    """
    limit = 500 * MIB
    with running(MAX_MEMORY_BYTES=str(limit), SPOOL_MAX_BYTES=str(32 * MIB)) as (server, gateway):
        context = multiprocessing.get_context("spawn")
        with context.Pool(senders) as pool:
            floods = [
                pool.apply_async(
                    flood, (gateway.http if way != "grpc" else gateway.grpc, way, number + 1, minutes * 60)
                )
                for number, way in enumerate((WAYS * senders)[:senders])
            ]
            resident = watched(gateway, minutes * 30)
            server.kill()
            resident += watched(gateway, minutes * 30 + 1)
            found = [one.get(120) for one in floods]
        ledgers = [ledger for ledger, _ in found]
        refusals = {code for ledger in ledgers for code in ledger.refused.values()}
        refused = sum(len(ledger.refused) for ledger in ledgers)
        began = time.monotonic()
        server.start()
        server.ready()
        for ledger in ledgers:
            assert all(ledger.insist(number) for number in sorted(ledger.sent - ledger.acked))
        gateway.until_drained(120)
        again_s = time.monotonic() - began
        with server.connect() as connection:
            balance = adds_up(connection, *ledgers)
    assert refused
    assert refusals <= AGAIN, refusals
    assert max(resident) < limit
    assert balance["refused"] == 0
    return {
        "senders": senders, "offered_a_second": round(balance["sent"] / minutes / 60),
        "requests_told_to_come_again": refused, "all_there_after_s": round(again_s, 1),
        "resident_mib": max(resident) // MIB, "limit_mib": limit // MIB,
        **told(balance, [answer for _, answers in found for answer in answers]),
    }  # fmt: skip


def flood(address: str, way: str, seed: int, seconds: float) -> tuple[Ledger, list[float]]:
    """Send without a pause, on several connections, whatever is answered; return the book."""
    ledger, answers_s = Ledger(address, way, seed=seed, spans=200, padding=500), list[float]()
    until, numbers = time.monotonic() + seconds, itertools.count()

    def send() -> None:
        while time.monotonic() < until:
            began = time.monotonic()
            if ledger.send(next(numbers)):
                answers_s.append(time.monotonic() - began)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.close()
    return ledger, answers_s


def large(minutes: float, rate: int) -> dict[str, Any]:
    """Send *rate* calls a second whose prompts have 200 KB."""
    with running() as (server, gateway):
        with steady(gateway, rate, spans=2, call_every=1, prompt=200_000) as (ledgers, answers_s):
            resident = watched(gateway, minutes * 60)
        gateway.until_drained()
        with server.connect() as connection:
            balance = adds_up(connection, *ledgers)
            whole = connection.execute("SELECT count(*) FROM span_contents WHERE NOT truncated AND bytes > 199900")
            prompts = whole.fetchall()[0][0]
    assert balance["refused"] == 0
    assert prompts == balance["committed"]
    return {"prompts": prompts, "resident_mib": max(resident) // MIB, **told(balance, answers_s)}


def told(balance: dict[str, int], answers_s: Sequence[float]) -> dict[str, Any]:
    """Return what every report has."""
    cuts = statistics.quantiles(answers_s, n=100)
    return {
        **balance, "answer_ms": {"p50": round(cuts[49] * 1000), "p99": round(cuts[98] * 1000),
                                 "max": round(max(answers_s) * 1000)},
    }  # fmt: skip


LOADS = {"outage": (outage, 500), "overload": (overload, 3), "large": (large, 50)}


def main() -> None:
    """Read the command line, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("load", choices=LOADS)
    parser.add_argument("minutes", type=float, nargs="?", default=10.0)
    parser.add_argument("--rate", type=int, help="spans a second, or sending processes of the overload")
    given = parser.parse_args()
    run, rate = LOADS[given.load]
    began = datetime.now(tz=timezone.utc)
    found = run(given.minutes, given.rate or rate)
    where = f"{os.cpu_count()} cores, {platform.machine()}, everything on it"
    report = {"load": given.load, "at": began.isoformat(timespec="seconds"), "minutes": given.minutes,
              "rate": given.rate or rate, "machine": where, **found}  # fmt: skip
    print(json.dumps(report, indent=2))  # noqa: T201  # that is what it is for


if __name__ == "__main__":
    main()
