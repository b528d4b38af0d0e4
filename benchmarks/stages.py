# ruff: noqa: INP001, T201 -- a program that prints
"""What does a span cost before it reaches PostgreSQL, stage by stage? Microseconds of CPU, in one thread.

Decoding, making rows and settling what came together are called directly, on requests that leave as a batch processor
sends them. With --against another environment's Python the two take turns, each time in a process of its own, so that
what else the machine does hits both; the least of the turns is told, which noise can only raise.

    python -m benchmarks.stages [--spans 48000] [--turns 5] [--against build/compiled/bin/python]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.workload import Shape, protobuf, requests_of
from otel_obs.cli.built import how_built
from otel_obs.cli.garbage import search_seldom
from otel_obs.otlp.decode import decode_traces
from otel_obs.pipeline.batching import batch_of
from otel_obs.pipeline.ingest import receive
from otel_obs.pipeline.mapping import mapping_of
from otel_obs.pricing.catalog import default_catalog
from otel_obs.settings import Settings
from otel_obs.tenancy import Sender

STAGES = ("decode", "receive", "batch_of")
RECEIVED_AT = datetime(2026, 6, 1, tzinfo=timezone.utc)
ROOT = Path(__file__).resolve().parents[1]


def measure(shape: Shape) -> dict[str, float]:
    """Return the microseconds of CPU that each stage takes for a span of a workload, warm."""
    warm, requests = (
        [protobuf(request).data for request in requests_of(one)[0]]
        for one in (Shape(spans=2400, batch=shape.batch, seed=shape.seed + 1), shape)
    )
    mapping = mapping_of(Settings.from_env({}), default_catalog())
    sender = Sender(organization_id="default")
    search_seldom()
    spans = 0
    for bodies in (warm, requests):
        used, spans = dict.fromkeys(STAGES, 0.0), 0
        for body in bodies:
            began = time.process_time()
            decoded = decode_traces(body)
            has_decoded = time.process_time()
            received = receive(decoded, sender, RECEIVED_AT, mapping)
            has_received = time.process_time()
            batch = batch_of([received], mapping.price)
            ended = time.process_time()
            spans += len(batch.events)
            for stage, took in zip(
                STAGES, (has_decoded - began, has_received - has_decoded, ended - has_received), strict=True
            ):
                used[stage] += took
    return {stage: seconds * 1e6 / spans for stage, seconds in used.items()}


def main() -> None:
    """Measure, and print a line for each environment, or JSON of one measurement."""
    options = _options()
    if options.once:
        print(json.dumps([how_built(), measure(Shape(spans=options.spans, batch=options.batch))]))
        return
    pythons = [sys.executable, *options.against]
    names = [""] * len(pythons)
    turns: list[list[dict[str, float]]] = [[] for _ in pythons]
    for _ in range(options.turns):
        for position, python in enumerate(pythons):
            names[position], found = _turn(python, options)
            turns[position].append(found)
    print(f"| us of CPU a span, the least of {options.turns} turns | {' | '.join(STAGES)} | together |")
    print(f"|---|{'--:|' * (len(STAGES) + 1)}")
    for name, found in zip(names, turns, strict=True):
        least = [min(turn[stage] for turn in found) for stage in STAGES]
        print(f"| {name} | {' | '.join(f'{us:.1f}' for us in (*least, sum(least)))} |")


def _turn(python: str, options: argparse.Namespace) -> tuple[str, dict[str, float]]:
    """Return how the package of another environment is built, and what it takes."""
    # The package that is installed there is meant, so the source beside this folder comes last.
    code = f"import sys; sys.path.append({str(ROOT)!r}); from benchmarks.stages import main; main()"
    command = [python, "-I", "-c", code, "--once", "--spans", str(options.spans), "--batch", str(options.batch)]
    name, found = json.loads(subprocess.check_output(command, text=True))
    return name, found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=48_000)
    parser.add_argument("--batch", type=int, default=512, help="spans of a request")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--against", nargs="*", default=[], help="Pythons of other environments")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
