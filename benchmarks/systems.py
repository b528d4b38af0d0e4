# ruff: noqa: INP001 -- a program
"""Who is measured, and how is each run? Each system is started for one measurement, on a database of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.request import urlopen

import psycopg

from benchmarks.workload import Body, otlp_json, protobuf

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "build" / "peers"
READY_WITHIN_S = 180
PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}
GZIP = {**PROTOBUF, "Content-Encoding": "gzip"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that takes requests."""

    pids: tuple[int, ...]
    """Roots of its processes."""
    urls: tuple[str, ...]
    """Where requests go; senders take them in turn."""
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A server, and where its rows are."""

    name: str
    database: str
    start: Callable[[str, Path], Iterator[Running]]
    """Given the database's URI and a log file."""
    spans_sql: str
    cost_sql: str
    """Sum of all costs in USD, as it tells them for traces."""
    pending_sql: str = "SELECT 0"
    """How much is still to be done with what is stored."""
    body_of: Callable[..., Body] = protobuf
    compressed: bool = False
    version: Callable[[], str] = field(default=lambda: "")
    is_peer: bool = False
    part: float = 1.0
    """How much of the workload it gets: what takes long gets less."""

    @contextmanager
    def running(self, url: str, log: Path) -> Iterator[Running]:
        """Start it, and stop it in the end."""
        yield from self.start(url, log)


def ours(way: str, workers: int, **settings: str) -> System:
    """Return our gateway as pip installs it, asked by gRPC or HTTP, with so many processes and more *settings*."""
    python = installed()
    headers = {"grpc": {}, "protobuf": PROTOBUF, "json": JSON, "gzip": GZIP}[way]
    named = "gRPC" if way == "grpc" else f"HTTP {way}"

    def start(url: str, log: Path) -> Iterator[Running]:
        key = otel_obs("keys", "create", "--org", "default", "--scope", "ingest", "--name", "bench", url=url).strip()
        ports = {
            "OTEL_OBS_GRPC_ENDPOINT": f"127.0.0.1:{free_port()}",
            "OTEL_OBS_HTTP_ENDPOINT": f"127.0.0.1:{free_port()}",
        }
        environment = {
            "OTEL_OBS_DATABASE_URL": url,
            "OTEL_OBS_AUTH": "keys",
            "OTEL_OBS_WORKERS": str(workers),
            "OTEL_OBS_DATA_DIR": str(log.with_suffix("")),
            **ports,
            **settings,
        }
        grpc, http = ports.values()
        command = [str(python), "-m", "otel_obs", "gateway"]
        with started(command, environment, log, f"http://{http}/readyz") as pid:
            target = f"grpc://{grpc}" if way == "grpc" else f"http://{http}/v1/traces"
            yield Running(pids=(pid,), urls=(target,), headers={**headers, "Authorization": f"Bearer {key}"})

    return System(
        name=f"otel_obs, {named}, {of_processes(workers)}",
        database=f"bench_{way}_{workers}",
        start=start,
        spans_sql="SELECT count(*) FROM otel_obs.event_logs",
        cost_sql="SELECT coalesce(sum(cost_usd), 0) / 100 FROM otel_obs.model_cost_logs",
        pending_sql="SELECT count(*) FROM otel_obs.unsettled_traces",
        body_of=otlp_json if way == "json" else protobuf,
        compressed=way == "gzip",
        version=lambda: _said_by(python),
    )


@cache
def installed() -> Path:
    """Install the package that this is, in an environment of its own, and return its Python."""
    home = PEERS / "otel-obs"
    if not (home / "bin" / "pip").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    subprocess.run([home / "bin" / "pip", "install", "--quiet", f"{ROOT}[gateway]"], check=True)
    return home / "bin" / "python"


def _said_by(python: Path) -> str:
    """Return version and way of being built, such as ``0.1.0 (compiled)``."""
    return (
        subprocess.check_output([python, "-m", "otel_obs", "--version"], text=True, cwd=PEERS)
        .split("version ")[1]
        .strip()
    )


def of_processes(count: int) -> str:
    """Return such as ``2 processes``."""
    return f"{count} process{'es' if count > 1 else ''}"


def otel_obs(*arguments: str, url: str) -> str:
    """Run a command of ours on the database at *url*, and return what it prints."""
    environment = {**_clean(), "OTEL_OBS_DATABASE_URL": url}
    return subprocess.check_output([sys.executable, "-m", "otel_obs", *arguments], env=environment, text=True)


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PG"))}


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def started(command: list[str], environment: Mapping[str, str], log: Path, ready: str) -> Iterator[int]:
    """Give the process of a program that answers at *ready*; it ends with the context."""
    with log.open("a") as output:
        process = subprocess.Popen(
            command, env={**_clean(), **environment}, stdout=output, stderr=output, cwd=log.parent
        )
    try:
        _wait(ready, process, log)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            with urlopen(url, timeout=2) as answer:  # noqa: S310  # an address of this machine
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"{process.args!r} does not start:\n{log.read_text()[-2000:]}")


def ask(connection: psycopg.Connection, sql: str) -> float:
    """Return the one number that *sql* gives."""
    row = connection.execute(sql).fetchone()  # type: ignore[arg-type]  # texts of this module
    return float(row[0]) if row is not None else 0.0
