"""``otel-obs gateway`` as a process that can be killed, frozen and started again at the same addresses."""

from __future__ import annotations

import http.client
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.command import environment
from tests.ledger import Ledger
from tests.private_postgres import free_port


class GatewayProcess:
    """One gateway; after ``kill`` or ``stop`` it can be started again."""

    def __init__(self, url: str, data_dir: Path, **settings: str) -> None:
        self._url = url
        self._data_dir = data_dir
        self.environment = environment(**{f"OTEL_OBS_{name}": value for name, value in settings.items()})
        # If it has to be aborted, its log says where every thread stood.
        self.environment["PYTHONFAULTHANDLER"] = "1"
        self.grpc = f"127.0.0.1:{free_port()}"
        self.http = f"127.0.0.1:{free_port()}"
        self.log = data_dir.parent / f"{data_dir.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, limits: Callable[[], None] | None = None) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "otel_obs", "gateway", "--database-url", self._url,
                 "--data-dir", str(self._data_dir), "--grpc", self.grpc, "--http", self.http],
                env=self.environment, stdout=log, stderr=log, preexec_fn=limits,  # noqa: PLW1509  # a limit
            )  # fmt: skip

    def healthy(self) -> None:
        self._until("/healthz")

    def ready(self) -> None:
        self._until("/readyz")

    def _until(self, path: str) -> None:
        until = time.monotonic() + 60
        while self.status(path) != 200:
            assert time.monotonic() < until, self.log.read_text()[-2000:]
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            time.sleep(0.05)

    def status(self, path: str) -> int:
        try:
            return self._get(path)[0]
        except (OSError, http.client.HTTPException):
            return 0

    def _get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.http, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        try:
            text = self._get("/metrics")[1]
        except (OSError, http.client.HTTPException):
            return -1.0
        values = re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, values)) if values else -1.0

    def until_drained(self, within_s: float = 60) -> None:
        until = time.monotonic() + within_s
        while self.metric("otel_obs_spool_bytes") != 0:
            assert time.monotonic() < until, self.log.read_text()[-2000:]
            time.sleep(0.1)

    def resident_bytes(self) -> int:
        assert self.process is not None
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()

    def ledger(self, way: str = "protobuf", **more: int) -> Ledger:
        return Ledger(self.grpc if way == "grpc" else self.http, way, **more)  # type: ignore[arg-type]

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait(60)
            raise AssertionError("it does not stop:\n" + self.log.read_text()[-20_000:]) from None
        finally:
            self.kill()
