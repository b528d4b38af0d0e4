"""Damaged requests into both decoders, for some minutes: they are decoded or refused, and nothing else.

With atheris (``pip install atheris``) coverage leads the way; without it captures of real senders are damaged by
chance.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

from otel_obs.errors import DecodeError, RequestTooLargeError
from otel_obs.model import Decoded
from otel_obs.otlp.decode import decode_logs, decode_traces
from otel_obs.otlp.decode_json import decode_logs_json, decode_traces_json
from otel_obs.pipeline.ingest import receive
from otel_obs.tenancy import Sender
from tests.corpus import NAMES, capture
from tests.rows import MAPPING, RECEIVED_AT

DECODERS: tuple[Callable[[bytes], Decoded], ...] = (decode_traces, decode_logs, decode_traces_json, decode_logs_json)
HANGS_S, MAX_MIB = 20, 2048
"""What an instrumented request may take: it is many times slower than one that is not."""
WORDS = (
    b'"',
    b"{",
    b"[",
    b"\\u0000",
    b"\\ud800",
    b"1e999",
    b"NaN",
    b"-",
    b"9" * 30,
    b"\xff",
    b"\x00",
    b"null",
    b"[" * 500,
)


def tried(data: bytes) -> str:
    """Return what became of *data*; raises whatever a request must never end with."""
    is_json = data[:1] in {b"{", b"["}
    decoder = DECODERS[len(data) % 8 // 7 + 2 * is_json]
    try:
        decoded = decoder(data)
    except (DecodeError, RequestTooLargeError) as error:
        return type(error).__name__
    # By itself: a request survives a record that our program cannot read, and here that is to be seen.
    for span in decoded.spans:
        MAPPING.read(span)
    for record in decoded.logs:
        MAPPING.read_log(record)
    received = receive(decoded, Sender(), RECEIVED_AT, MAPPING)
    if any(item.reason == "not_understood" for item in received.quarantined):
        raise AssertionError("a record was decoded, and cannot be made rows of")
    return "decoded"


def seeds() -> list[bytes]:
    """Return bodies of real senders, in protobuf and in JSON."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: PLC0415

    from tests.otlp_json import as_json  # noqa: PLC0415

    found = [body for name in NAMES for body in capture(name).bodies]
    in_json = [as_json(ExportTraceServiceRequest.FromString(body.data)) for body in found if body.signal == "traces"]
    return [*(body.data for body in found), *in_json]


def damaged(chance: random.Random, bodies: list[bytes]) -> bytes:
    """Return one of *bodies* with bytes changed, cut out, repeated, or of another one."""
    data = bytearray(chance.choice(bodies))
    for _ in range(chance.choice((1, 1, 2, 3, 8, 30))):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[at : at + chance.randrange(20)]
            case 2:
                data[at:at] = chance.choice(WORDS)
            case 3:
                data[at:at] = data[at : at + chance.randrange(100)]
            case 4:
                other = chance.choice(bodies)
                start = chance.randrange(len(other) + 1)
                data[at:at] = other[start : start + chance.randrange(200)]
            case _:
                del data[at:]
    return bytes(data)


def run(seconds: float, seed: int) -> Counter[str]:
    """Return how often what happened."""
    chance, bodies = random.Random(seed), seeds()
    found: Counter[str] = Counter()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        data = damaged(chance, bodies)
        try:
            found[tried(data)] += 1
        except BaseException:
            print(f"seed {seed}, request {found.total()}: {data[:2000]!r}", file=sys.stderr)  # noqa: T201
            raise
    return found


def main() -> None:
    """Read the command line, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=1.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    if importlib.util.find_spec("atheris") is not None:
        _with_atheris(given.minutes, given.seed)
        return
    found = run(given.minutes * 60, given.seed)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{found.total()} requests, seed {given.seed}: {dict(found)}; at most {most} MiB")  # noqa: T201


def _with_atheris(minutes: float, seed: int) -> None:
    """Let coverage lead the way from bodies of real senders; the process ends with it, and says what it found."""
    atheris = importlib.import_module("atheris")
    for found in gc.get_objects():
        if isinstance(found, FunctionType) and str(found.__module__).startswith("otel_obs."):
            atheris.instrument_func(found)
    with tempfile.TemporaryDirectory() as folder:
        for number, body in enumerate(seeds()):
            (Path(folder) / str(number)).write_bytes(body)
        limits = [f"-max_total_time={round(minutes * 60)}", f"-seed={seed}", "-max_len=100000", f"-timeout={HANGS_S}",
                  f"-rss_limit_mb={MAX_MIB}", "-artifact_prefix=build/fuzz-", "-print_final_stats=1"]  # fmt: skip
        atheris.Setup([sys.argv[0], *limits, folder], _tried)
        atheris.Fuzz()


def _tried(data: bytes) -> None:
    tried(data)


if __name__ == "__main__":
    main()
