"""The real Collector, and what stands around it: keys, certificates, a gateway of ours as a process."""

from __future__ import annotations

import os
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import psycopg
import pytest
import trustme

from otel_obs.postgres import keys
from otel_obs.postgres.pool import conninfo
from tests.command import ROOT, Running
from tests.fix_postgres import new_database, short_folder
from tests.waiting import until

BUILT = ROOT / "build" / "otelcol"
PIPELINES = ROOT / "collector" / "pipelines"
PATIENCE_S = 90


def _built(name: str) -> Path:
    path = BUILT / name
    if not path.exists():
        pytest.skip(f"{path.relative_to(ROOT)} is not there: `make otelcol` builds it, with Go 1.26 or newer")
    return path


@pytest.fixture(scope="session")
def otelcol() -> Path:
    return _built("otelcol")


@pytest.fixture(scope="session")
def telemetrygen() -> Path:
    return _built("telemetrygen")


@pytest.fixture
def kafka() -> Iterator[int]:
    """Run a broker, and give its port."""
    port = free_port()
    with subprocess.Popen([_built("kafka"), str(port)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("ready")
            yield port
        finally:
            process.kill()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass(frozen=True)
class Certificates:
    """A certificate for this machine's names, and the authority that vouches for it."""

    authority: Path
    certificate: Path
    key: Path


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    found = Certificates(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    authority.cert_pem.write_to_path(str(found.authority))
    found.certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(found.key))
    return found


@dataclass(eq=False)
class Collector:
    """A Collector with one of our pipelines; what it keeps is in its folder, whoever runs it."""

    binary: Path
    pipeline: str
    folder: Path
    settings: dict[str, str]
    grpc: int = field(default_factory=free_port)
    http: int = field(default_factory=free_port)
    health: int = field(default_factory=free_port)
    metrics: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "OTELCOL_STORAGE": str(self.folder / "queue"),
            "OTELCOL_GRPC": f"127.0.0.1:{self.grpc}",
            "OTELCOL_HTTP": f"127.0.0.1:{self.http}",
            "OTELCOL_HEALTH": f"127.0.0.1:{self.health}",
            "OTELCOL_METRICS_PORT": str(self.metrics),
            **self.settings,
        }
        command = [str(self.binary), "--config", str(PIPELINES / f"{self.pipeline}.yaml")]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        until(self.is_healthy, within_s=30)

    @property
    def log(self) -> Path:
        return self.folder / f"{self.pipeline}.log"

    def is_healthy(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.health}/") as answer:
            return bool(answer.status == 200)
        return False

    def metric(self, name: str) -> float:
        """Return the sum over all exporters and receivers of a metric of the Collector's own."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.partition("{")[0] == name)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Behind:
    """Our gateway, which asks for keys, with a database of its own."""

    def __init__(self, database: str, data_dir: Path) -> None:
        self.database = database
        self.grpc = free_port()
        self.http = free_port()
        self._data_dir = data_dir
        self._running: Running | None = None

    def start(self) -> None:
        self._running = Running(
            "gateway", "--database-url", self.database, "--data-dir", str(self._data_dir),
            "--grpc", f"127.0.0.1:{self.grpc}", "--http", f"127.0.0.1:{self.http}",
            OTEL_OBS_AUTH="keys",
        )  # fmt: skip
        self._running.ready()

    def kill(self) -> None:
        if self._running is not None:
            self._running.process.kill()
            self._running.process.communicate()
            self._running = None

    def key(self, organization: str, workspace: str | None = None) -> str:
        with psycopg.connect(conninfo(self.database)) as connection:
            return keys.create(
                connection, organization_id=organization, workspace_id=workspace, scopes=("ingest",),
                now=datetime.now(tz=timezone.utc),
            )  # fmt: skip

    def spans(self) -> list[tuple[str, str, str]]:
        """Return organization, workspace and span id of each span that is stored."""
        with psycopg.connect(conninfo(self.database)) as connection:
            return connection.execute(
                "SELECT organization_id, workspace_id, span_id FROM event_logs ORDER BY 1, 2, 3"
            ).fetchall()


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as found:
        yield found


@pytest.fixture
def behind(server_dsn: str, template_database: str, folder: Path) -> Iterator[Behind]:
    with new_database(server_dsn, template_database) as database:
        found = Behind(database, folder / "gateway")
        found.start()
        try:
            yield found
        finally:
            found.kill()


Starting = Callable[..., Collector]


@pytest.fixture
def collector(otelcol: Path, folder: Path, certificates: Certificates) -> Iterator[Starting]:
    """Start a Collector with a pipeline of ours, in front of whoever listens on a port of this machine."""
    with _collectors() as started:

        def start(pipeline: str, upstream: int, **settings: str) -> Collector:
            own = folder / f"{pipeline}-{len(started)}"
            own.mkdir()
            found = Collector(
                otelcol, pipeline, own,
                {
                    "OTELCOL_UPSTREAM": f"localhost:{upstream}",
                    # Agents speak TLS to the next tier; an authority would make the others do so too.
                    **({"OTELCOL_UPSTREAM_CA": str(certificates.authority)} if pipeline == "agent" else {}),
                    "OTELCOL_TLS_CERT": str(certificates.certificate),
                    "OTELCOL_TLS_KEY": str(certificates.key),
                    **settings,
                },
            )  # fmt: skip
            started.append(found)
            found.start()
            return found

        yield start


@contextmanager
def _collectors() -> Iterator[list[Collector]]:
    started: list[Collector] = []
    try:
        yield started
    finally:
        for found in started:
            found.kill()
