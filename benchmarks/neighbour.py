# ruff: noqa: INP001, T201 -- a program that prints
"""Does one tenant that sends ten times what it may hurt another?  Rounds with and without it, one after the other.

.venv/bin/python -m benchmarks.neighbour --write
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import platform
import statistics
import sys
import threading
import time
from collections import Counter
from datetime import datetime, timezone
from multiprocessing.synchronize import Event
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from benchmarks.gateway import cluster
from benchmarks.systems import otel_obs, ours

QUOTA = 100
"""Spans a second that the noisy one may send ..."""
TIMES = 10
"""... and how many times that it does."""
SPANS, EVERY_S = 5, 0.1
"""The quiet one sends five spans ten times a second: 50 a second."""
PROGRAMS = 4
"""So many programs take turns at that, so that one that waits keeps none of the others."""
BATCH = 50
REPORT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- make bench-neighbour -->", "<!-- end of make bench-neighbour -->"


def _body(count: int) -> bytes:
    at = time.time_ns()
    spans = [
        {"traceId": os.urandom(16).hex(), "spanId": os.urandom(8).hex(), "name": "chat", "kind": 3,
         "startTimeUnixNano": str(at), "endTimeUnixNano": str(at + 10**9), "attributes": [
             {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
             {"key": "gen_ai.provider.name", "value": {"stringValue": "openai"}},
             {"key": "gen_ai.response.model", "value": {"stringValue": "gpt-4o-mini"}},
             {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "100"}},
             {"key": "gen_ai.input.messages", "value": {"stringValue": "x" * 1000}}]}
        for _ in range(count)
    ]  # fmt: skip
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()


class _Sender:
    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
        self._path = parts.path
        self._headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}

    def send(self, body: bytes) -> str:
        try:
            self._connection.request("POST", self._path, body, self._headers)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return type(error).__name__
        return str(answer.status)


def _noise(url: str, key: str, stop: Event, answers: multiprocessing.Queue[Counter[str]]) -> None:
    """Send ten times the quota, and never wait when told to."""
    sender, told = _Sender(url, key), Counter[str]()
    due = time.monotonic()
    while not stop.is_set():
        told[sender.send(_body(BATCH))] += BATCH
        due = max(due + BATCH / (QUOTA * TIMES), time.monotonic() - 1)
        time.sleep(max(0.0, due - time.monotonic()))
    answers.put(told)


def _quiet(url: str, key: str, seconds: float) -> tuple[list[float], Counter[str]]:
    """Return how long each request takes (ms), from when it was due, and what was answered."""
    found: list[float] = []
    told = Counter[str]()

    def send(first: int) -> None:
        sender = _Sender(url, key)
        for number in range(first, int(seconds / EVERY_S), PROGRAMS):
            due = began + number * EVERY_S
            time.sleep(max(0.0, due - time.monotonic()))
            answer = sender.send(_body(SPANS))
            found.append((time.monotonic() - due) * 1000)
            told[answer] += SPANS

    began = time.monotonic()
    threads = [threading.Thread(target=send, args=(number,)) for number in range(PROGRAMS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found, told


def _p(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def main() -> None:
    """Measure, and tell."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--seconds", type=float, default=20)
    asked.add_argument("--write", action="store_true", help="put the figures into docs/benchmarks.md")
    options = asked.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with cluster() as postgres:
        url = postgres.database("bench_neighbour")
        otel_obs("migrate", url=url)
        keys = {
            name: otel_obs("keys", "create", "--org", name, "--scope", "ingest", url=url).strip()
            for name in ("noisy", "quiet")
        }
        otel_obs("org", "set", "noisy", "--max-spans-per-second", str(QUOTA), url=url)
        alone: list[list[float]] = []
        beside: list[list[float]] = []
        quiet, noisy = Counter[str](), Counter[str]()
        with ours("protobuf", 1).running(url, postgres.folder / "gateway.log") as gateway:
            _quiet(gateway.urls[0], keys["quiet"], 3)
            for number in range(2 * options.rounds):
                is_noisy = number % 4 in (1, 2)
                stop, answers = spawn.Event(), spawn.Queue()
                noise = spawn.Process(target=_noise, args=(gateway.urls[0], keys["noisy"], stop, answers), daemon=True)
                if is_noisy:
                    noise.start()
                    time.sleep(3)
                found, told = _quiet(gateway.urls[0], keys["quiet"], options.seconds)
                quiet += told
                if is_noisy:
                    stop.set()
                    noisy += answers.get(timeout=60)
                    noise.join(60)
                (beside if is_noisy else alone).append(found)
                print(f"{'noisy' if is_noisy else 'alone'}: p50 {_p(found, 0.5):.1f} ms, p99 {_p(found, 0.99):.1f} ms",
                      file=sys.stderr, flush=True)  # fmt: skip
            quiet += Counter({"200": int(3 / EVERY_S) * SPANS})
        with psycopg.connect(url) as connection:
            rows = dict(
                connection.execute(
                    "SELECT organization_id, count(*) FROM otel_obs.event_logs GROUP BY 1"
                ).fetchall()
            )  # fmt: skip
    section = _section(options, alone, beside, quiet, noisy, rows)
    print(section)
    if options.write:
        _write(section)


def _section(
    options: argparse.Namespace,
    alone: list[list[float]],
    beside: list[list[float]],
    quiet: Counter[str],
    noisy: Counter[str],
    rows: dict[str, int],
) -> str:
    def row(name: str, rounds: list[list[float]]) -> str:
        p99 = [_p(found, 0.99) for found in rounds]
        whole = [value for found in rounds for value in found]
        return (
            f"| {name} | {_p(whole, 0.5):.1f} | {statistics.median(p99):.1f} ({min(p99):.1f}-{max(p99):.1f}) "
            f"| {_p(whole, 0.99):.1f} |"
        )

    ratio = statistics.median(_p(found, 0.99) for found in beside) / statistics.median(_p(x, 0.99) for x in alone)
    sent = quiet.total()
    seconds = (options.seconds + 3) * len(beside)
    told = ", ".join(f"{count:,} x {status}" for status, count in sorted(noisy.items()))
    stored = rows.get("noisy", 0)
    where = (
        f"{datetime.now(tz=timezone.utc):%Y-%m-%d}, {os.cpu_count()} cores, {platform.machine()}, Python "
        f"{platform.python_version()}, {options.rounds} interleaved rounds of {options.seconds:.0f} s each, load of "
        f"the machine {os.getloadavg()[0]:.1f}."
    )
    what = (
        f"p99 beside / alone: {ratio:.2f}. The quiet one sent {sent:,} spans, {rows.get('quiet', 0):,} are stored, "
        f"{sent - quiet['200']:,} were refused. The noisy one's spans: {told}; {stored:,} are stored, "
        f"{stored / max(1.0, seconds):.0f} a second."
    )
    table = ["| the quiet one's requests | p50 ms | p99 ms, median of rounds (least-most) | p99 ms of all |",
             "|---|--:|--:|--:|", row("alone", alone), row("beside the noisy one", beside)]  # fmt: skip
    return "\n".join([BEGIN, where, "", *table, "", what, END])


def _write(section: str) -> None:
    text = REPORT.read_text()
    if BEGIN in text:
        head, _, rest = text.partition(BEGIN)
        text = head + section + rest.partition(END)[2]
    else:
        text += (
            "\n## A noisy neighbour\n\n`make bench-neighbour`. One organization sends ten times the 100 spans a second "
            "that it may, in requests of 50, and never\nwaits when it is told to; another sends 50 spans a second, "
            f"five in a request, over HTTP to the same gateway.\n\n{section}\n"
        )
    REPORT.write_text(text)


if __name__ == "__main__":
    main()
