"""Damaged requests into both decoders, for some minutes: they are decoded or refused, and nothing else.

With atheris (``make fuzz`` installs it where it has a wheel) coverage leads the way; without it captures of real
senders are damaged by chance.
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
FOUND = Path(__file__).parents[2] / "build" / "fuzz"
ANSWER_WITHIN_S = 3
"""Longer is a hang."""
MOST_MIB = 1500
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
    received = receive(decoded, Sender(), RECEIVED_AT, MAPPING)
    if any(item.reason == "not_understood" for item in received.quarantined):
        # A request survives a record that our program stumbles over: what it was is in the log. Here that is a find.
        raise AssertionError("a record was decoded, and no rows can be made of it")
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
    """Let coverage of the package choose what to try next; it begins with bodies of real senders.

    It ends the process: with what it found in ``build/fuzz``, where there was something.
    """
    atheris = importlib.import_module("atheris")
    for function in gc.get_objects():
        if isinstance(function, FunctionType) and str(function.__module__).startswith(("otel_obs.", "json.")):
            atheris.instrument_func(function)
    FOUND.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="oof") as folder:
        for number, body in enumerate(seeds()):
            (Path(folder) / f"{number:04d}").write_bytes(body)
        words = Path(folder) / "words.dict"
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in WORDS))
        options = {
            "max_total_time": int(minutes * 60), "seed": seed, "max_len": 200_000, "timeout": ANSWER_WITHIN_S,
            "rss_limit_mb": MOST_MIB, "dict": words, "artifact_prefix": f"{FOUND}/", "print_final_stats": 1,
        }  # fmt: skip
        arguments = [sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), folder]
        atheris.Setup(arguments, lambda data: tried(data) and None)
        atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word[:60])


if __name__ == "__main__":
    main()
