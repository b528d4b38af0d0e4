"""A PostgreSQL of a test's own, a direct child, that can be killed, frozen and started again; TCP on loopback."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from otel_obs.postgres import schema
from otel_obs.postgres.binaries import find
from tests.fix_postgres import POSTGRES_15

OPTIONS = {
    "fsync": "off", "full_page_writes": "off", "max_connections": "60", "shared_buffers": "64MB",
    "unix_socket_directories": "", "listen_addresses": "127.0.0.1", "autovacuum": "off",
}  # fmt: skip
"""What is written is with the kernel, which nobody kills here: nothing is lost without fsync."""


def free_port() -> int:
    """Return a port that nobody has, and that the kernel gives to no outgoing connection.

    A client that tries again and again to reach a server which is down would sooner or later be given that very port,
    connect to itself, and keep the server from coming back.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.SystemRandom().randrange(lowest // 2, lowest)
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue


def programs() -> Path:
    if (POSTGRES_15 / "postgres").exists():
        return POSTGRES_15
    if os.geteuid() == 0:
        pytest.skip("as root, PostgreSQL of the system is needed, which another account may run")
    return find().folder


class PrivatePostgres:
    """One cluster; ``kill`` kills all of its processes at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._bin = programs()
        # Not by `user=`: that forks, and of a process in which gRPC's threads work, a fork may never come to exec.
        self._as_account: tuple[str, ...] = ()
        if os.geteuid() == 0:
            who = pwd.getpwnam("postgres")
            self._as_account = ("setpriv", f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--clear-groups")
            os.chown(folder, who.pw_uid, who.pw_gid)
        self.port = free_port()
        self.url = f"postgresql://test@127.0.0.1:{self.port}/postgres"
        self._process: subprocess.Popen[bytes] | None = None
        self.run("initdb", "-D", str(folder / "cluster"), "-U", "test", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs, as the account of the server."""
        subprocess.run(
            [*self._as_account, str(self._bin / program), *arguments], check=True, stdout=subprocess.DEVNULL, cwd="/"
        )

    def start(self, **options: str) -> None:
        settings = {**OPTIONS, "port": str(self.port), **options}
        arguments = [item for name, value in settings.items() for item in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_account, str(self._bin / "postgres"), "-D", str(self.folder / "cluster"), *arguments],
                stdout=log, stderr=log, cwd="/", start_new_session=True,
            )  # fmt: skip

    @property
    def log(self) -> Path:
        """What the server says, as far as no option sends it elsewhere."""
        return self.folder / "server.log"

    def ready(self) -> None:
        until = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=3).close()
            except psycopg.OperationalError:  # noqa: PERF203  # until it answers
                assert self._process is None or self._process.poll() is None, self.log.read_text()[-2000:]
                assert time.monotonic() < until, self.log.read_text()[-2000:]
                time.sleep(0.05)
            else:
                return

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.url, autocommit=True, options="-c search_path=otel_obs")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and to all of its children, which are in sessions of their own."""
        process = self._process
        assert process is not None
        for pid in [process.pid, *children(process.pid)]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:  # noqa: PERF203  # it has ended by itself
                continue

    def kill(self) -> None:
        if self._process is None:
            return
        # Stopped it has no more children: one that outlived it would hold its memory, and keep the next from starting.
        self._process.send_signal(signal.SIGSTOP)
        pids = children(self._process.pid)
        self.signal(signal.SIGKILL)
        self._process.wait()
        self._process = None
        until = time.monotonic() + 20
        while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < until:
            time.sleep(0.02)

    def restore(self, backup: Path) -> None:
        """Put *backup* in the place of the cluster, which is down."""
        assert self._process is None
        shutil.rmtree(self.folder / "cluster")
        backup.rename(self.folder / "cluster")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None


def children(pid: int) -> list[int]:
    """Return the processes that any thread of *pid* has started."""
    found: list[str] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += thread.read_text().split()
        except OSError:  # noqa: PERF203  # it has ended
            continue
    return [int(child) for child in found]


@contextmanager
def private_postgres(**options: str) -> Iterator[PrivatePostgres]:
    """Give a server with the schema."""
    folder = Path(tempfile.mkdtemp(prefix="oop", dir="/tmp"))
    try:
        server = PrivatePostgres(folder)
        server.start(**options)
        try:
            server.ready()
            schema.migrate(server.url)
            yield server
        finally:
            server.signal(signal.SIGCONT) if server._process is not None else None
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
