# ruff: noqa: INP001 -- a program
"""Who else is measured, and how is each run?

As many processes as ours, no prices from the network, nothing beside that a trace does not need. Versions are pinned,
for settings and questions to their tables are made for these.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from benchmarks.systems import PEERS, PROTOBUF, Running, System, free_port, of_processes, started

MLFLOW, PHOENIX = "3.17.2", "20.26.1"


def mlflow(workers: int) -> System:
    """Return MLflow's tracking server with so many workers."""
    home = _installed("mlflow", f"mlflow=={MLFLOW}", "psycopg2-binary")
    environment = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # The prices that it brings along: where it cannot download others, each worker waits 7 s for each provider.
        "MLFLOW_MODEL_CATALOG_URI": "",
        # Eight processes more, for evaluations.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }

    def start(url: str, log: Path) -> Iterator[Running]:
        port = free_port()
        command = [
            str(home / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", str(workers),
            "--backend-store-uri", url.replace("://", "+psycopg2://", 1),
            "--artifacts-destination", str(log.with_suffix("")),
        ]  # fmt: skip
        with started(command, environment, log, f"http://127.0.0.1:{port}/health") as pid:
            headers = {**PROTOBUF, "x-mlflow-experiment-id": "0"}
            yield Running(pids=(pid,), urls=(f"http://127.0.0.1:{port}/v1/traces",), headers=headers)

    return System(
        name=f"MLflow, {of_processes(workers)}",
        database="bench_mlflow",
        start=start,
        spans_sql="SELECT count(*) FROM spans",
        cost_sql="SELECT coalesce(sum(total_cost), 0) FROM trace_info",
        version=lambda: MLFLOW,
        is_peer=True,
        part=1 / 2,
    )


def phoenix(servers: int) -> System:
    """Return Arize Phoenix: so many servers on one database, for one has one process."""
    home = _installed("arize-phoenix", f"arize-phoenix=={PHOENIX}", "asyncpg", "psycopg")

    def start(url: str, log: Path) -> Iterator[Running]:
        ports = [free_port() for _ in range(servers)]
        with ExitStack() as all_of_them:
            pids = [all_of_them.enter_context(_phoenix(home, url, log, port)) for port in ports]
            urls = (f"http://127.0.0.1:{port}/v1/traces" for port in ports)
            yield Running(pids=tuple(pids), urls=tuple(urls), headers=PROTOBUF)

    return System(
        name=f"Arize Phoenix, {of_processes(servers)}",
        database="bench_phoenix",
        start=start,
        spans_sql="SELECT count(*) FROM spans",
        cost_sql="SELECT coalesce(sum(total_cost), 0) FROM span_costs",
        version=lambda: PHOENIX,
        is_peer=True,
        part=1 / 6,
    )


def _phoenix(home: Path, url: str, log: Path, port: int) -> AbstractContextManager[int]:
    environment = {
        "PHOENIX_SQL_DATABASE_URL": url,
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        "PHOENIX_WORKING_DIR": str(log.with_suffix("") / str(port)),
    }
    return started([str(home / "phoenix"), "serve"], environment, log, f"http://127.0.0.1:{port}/healthz")


def _installed(name: str, *packages: str) -> Path:
    """Install a peer into an environment of its own, and return where its programs are."""
    home = PEERS / name
    if not (home / "bin" / "pip").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    subprocess.run([home / "bin" / "pip", "install", "--quiet", *packages], check=True)
    return home / "bin"
