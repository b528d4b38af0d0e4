# ruff: noqa: INP001, T201 -- a program that prints
"""What does it cost to seal content? The same gateway with keys and without, one after the other, round by round.

Rates tell little while other programs use the machine; seconds of CPU tell more.

    python -m benchmarks.sealed [--rounds 5] [--spans 24000] [--prompt-bytes 2048] [--write]
"""

from __future__ import annotations

import argparse
import base64
import os
import platform
import re
import statistics
import time
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from benchmarks.gateway import Measured, cluster, measure
from benchmarks.systems import ROOT, System, ours
from benchmarks.workload import Shape
from otel_obs.postgres import schema

BEGIN, END = "<!-- make bench-sealed -->", "<!-- end of make bench-sealed -->"


def main() -> None:
    """Measure, and print a table; with --write into docs/benchmarks.md too."""
    options = _options()
    keys = "bench:" + base64.b64encode(os.urandom(32)).decode()
    plain = ours("protobuf", 1)
    sealed = replace(ours("protobuf", 1, OTEL_OBS_ENCRYPTION_KEYS=keys), name="sealed", database="bench_sealed")
    systems = (replace(plain, name="plain", database="bench_plain"), sealed)
    found: dict[str, list[Measured]] = {system.name: [] for system in systems}
    with cluster() as postgres:
        for system in systems:
            schema.migrate(postgres.database(system.database))
        for number in range(options.rounds):
            # Who comes first changes, for the second finds a warmer machine.
            for position, system in enumerate(systems if number % 2 else systems[::-1]):
                shape = _shape(options, seed=options.seed + 1000 * number + position)
                measured, _ = measure(system, postgres, shape)
                found[system.name].append(measured)
                print(f"round {number + 1}: {system.name}: {measured}", flush=True)
    table = _table(systems, found, options)
    print(table)
    if options.write:
        _replace_between(ROOT / "docs" / "benchmarks.md", table)


def _shape(options: argparse.Namespace, seed: int) -> Shape:
    return Shape(spans=options.spans, batch=options.batch, prompt_bytes=options.prompt_bytes, seed=seed)


def _table(systems: tuple[System, ...], found: dict[str, list[Measured]], options: argparse.Namespace) -> str:
    machine = f"{os.cpu_count()} cores ({platform.machine()}), load {os.getloadavg()[0]:.0f}"
    asked = f"{options.rounds} rounds of {options.spans:,} spans, prompts of {options.prompt_bytes:,} bytes"
    lines = [
        f"{datetime.now(tz=timezone.utc):%Y-%m-%d}, {machine}, HTTP protobuf, one process; medians of {asked}.",
        "",
        "| | spans/s | CPU s for a million spans: gateway | PostgreSQL |",
        "|---|---|---|---|",
    ]
    for system in systems:
        rounds = found[system.name]
        rate, own, postgres = (
            statistics.median(getattr(one, name) for one in rounds)
            for name in ("spans_a_second", "server_cpu_s", "postgres_cpu_s")
        )
        lines.append(f"| {system.name} | {rate:,.0f} | {own:,.0f} | {postgres:,.0f} |")
    plain, sealed = found["plain"], found["sealed"]
    rate = statistics.median(s.spans_a_second / p.spans_a_second for s, p in zip(sealed, plain, strict=True))
    cpu = statistics.median(p.cpu_s / s.cpu_s for s, p in zip(sealed, plain, strict=True))
    lines += ["", f"Sealed against plain, round by round: **{rate:.2f}** of the rate; by CPU time {cpu:.2f}."]
    return "\n".join(lines)


def _replace_between(page: Path, table: str) -> None:
    text = page.read_text()
    new = re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{table}\n{END}", text, flags=re.DOTALL)
    page.write_text(new)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    number = partial(parser.add_argument, type=int)
    number("--rounds", default=5)
    number("--spans", default=24_000, help="spans of a measurement")
    number("--batch", default=512, help="spans of a request")
    number("--prompt-bytes", default=2048)
    number("--seed", default=int(time.time()) % 10**6 * 100)
    parser.add_argument("--write", action="store_true", help="the table into docs/benchmarks.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
