"""A PostgreSQL of one's own: made on first use, shared by the processes of one data folder, gone with the last.

Everything lies in the data folder; there is no TCP port. The server is reached through a Unix socket in a
folder that nobody but its account may enter, and so it asks for no password.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import psycopg

import otel_obs
from otel_obs.errors import EmbeddedPostgresError
from otel_obs.postgres.account import Account, home_of, make_open, reachable_programs
from otel_obs.postgres.binaries import Binaries, find
from otel_obs.postgres.cluster import forget_strangers, last_lines, make_cluster, socket_folder
from otel_obs.postgres.locks import FileLock
from otel_obs.postgres.queries import load

_EMBEDDED = load("embedded")

NAME = "otel_obs"
"""Of the role and of the database."""
READY_WITHIN_S = 120.0
"""Recovery after a crash may take its time."""
_LOG_BYTES = 10 * 1024 * 1024

_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "max_connections": "60",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    # Its binaries know pglz alone, which takes 70 us for a page, and after a checkpoint each page is logged whole once.
    "wal_compression": "off",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Errors quote values, and values are prompts: no statement's error is logged.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_ENVIRONMENT = ("PATH", "TZ", "TMPDIR", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""What the server's processes get to see: not the caller's keys, nor variables that mean another server."""


class EmbeddedPostgres:
    """The server of one data folder, used by this process from ``start()`` to ``close()``."""

    def __init__(self, data_dir: Path, *, bin_dir: Path | None = None, durable: bool = True) -> None:
        self._data_dir = data_dir.absolute()
        self._bin_dir = bin_dir
        self._durable = durable
        self._users = FileLock(self._data_dir / "users.lock")

    def start(self) -> str:
        """Return the URI of the running server; start it, and make its cluster, if need be.

        Raises:
            EmbeddedPostgresError: it cannot run here; the message says what can be done.
        """
        try:
            return self._start()
        except (OSError, subprocess.SubprocessError, psycopg.Error) as error:
            raise EmbeddedPostgresError(
                f"no server can run in {self._data_dir} ({error}): choose another folder with OTEL_OBS_DATA_DIR, "
                "or set OTEL_OBS_DATABASE_URL to a server"
            ) from error

    def close(self) -> None:
        """Use it no longer; the server stops soon after its last user."""
        self._users.release()

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    def _start(self) -> str:
        account, _ = home_of(self._data_dir)
        _make_data_dir(self._data_dir, account)
        with FileLock(self._data_dir / "server.lock") as server:
            # A supervisor that is about to end lets go of one lock a moment before the other.
            if not server.exclusive(READY_WITHIN_S) or not self._users.shared(READY_WITHIN_S):
                raise EmbeddedPostgresError(f"another process keeps {self._data_dir} locked")
            try:
                account, home = home_of(self._data_dir)
                sockets = socket_folder(home, account)
                self._run(account, home, sockets)
            except BaseException:
                self._users.release()
                raise
        return _uri(sockets)

    def _run(self, account: Account, home: Path, sockets: Path) -> None:
        """Wait until the server answers; start it if nobody keeps it up, but not twice."""
        uri = _uri(sockets, database="postgres")
        until = time.monotonic() + READY_WITHIN_S
        is_launched = False
        while not _has_database(uri):
            if not _is_supervised(self._data_dir):
                if is_launched:
                    raise EmbeddedPostgresError(f"the server does not start: {last_lines(_tail(home))}")
                self._launch(account, home, sockets)
                is_launched = True
            if time.monotonic() > until:
                raise EmbeddedPostgresError(f"the server is not ready in time: {last_lines(_tail(home))}")
            time.sleep(0.02)

    def _launch(self, account: Account, home: Path, sockets: Path) -> None:
        if account.is_other:
            make_open(home.parent)
        for folder in dict.fromkeys((home, sockets)):
            account.make_private(folder)
        binaries = self._binaries(home, account)
        cluster = home / "cluster"
        if not cluster.exists():
            make_cluster(binaries, cluster, account, superuser=NAME, environment=_environment())
        forget_strangers(cluster, sockets)
        self._supervise(binaries, home, sockets, account)

    def _binaries(self, home: Path, account: Account) -> Binaries:
        """Return the programs, of the version that made the cluster if there is one."""
        version = home / "cluster" / "PG_VERSION"
        made_by = int(version.read_text().strip()) if version.exists() else None
        try:
            found = find(self._bin_dir, major=made_by)
        except EmbeddedPostgresError:
            if made_by is None:
                raise
            raise EmbeddedPostgresError(
                f"{home} was made by PostgreSQL {made_by}, whose programs are not here: install them, "
                "or choose another folder with OTEL_OBS_DATA_DIR"
            ) from None
        return Binaries(reachable_programs(found.folder, account), found.major)

    def _supervise(self, binaries: Binaries, home: Path, sockets: Path, account: Account) -> None:
        settings = {**_SETTINGS, **({} if self._durable else _NOT_DURABLE), "unix_socket_directories": str(sockets)}
        options = [item for name, value in settings.items() for item in ("-c", f"{name}={value}")]
        command = [str(binaries.postgres), "-D", str(home / "cluster"), *options]
        log = _open_log(home / "postgres.log")
        try:
            subprocess.run(
                [
                    # No site: it may bring a sitecustomize that instruments every process.
                    sys.executable, "-S", "-m", "otel_obs.postgres.supervisor", str(self._data_dir),
                    str(account.uid), str(account.gid), str(home / "cluster"), *command,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                check=True,
                # It lives longer than we, and the working directory's modules are not its own.
                cwd="/",
                env={**_environment(), "PYTHONPATH": _python_path()},
            )  # fmt: skip
        finally:
            os.close(log)


def dsn_of(data_dir: Path) -> str:
    """Return the URI that the server of *data_dir* has, running or not.

    Raises:
        EmbeddedPostgresError: no server can run for this process.
    """
    account, home = home_of(data_dir.absolute())
    return _uri(socket_folder(home, account))


def running_dsn(data_dir: Path) -> str | None:
    """Return the URI of the server of *data_dir* if it answers now."""
    try:
        uri = dsn_of(data_dir)
    except (EmbeddedPostgresError, OSError):
        return None
    return uri if _answers(uri) else None


def _make_data_dir(data_dir: Path, account: Account) -> None:
    """Make the folder of the locks; a server of another account lives in it and must get there."""
    if account.is_other:
        make_open(data_dir)
    else:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)


def _uri(sockets: Path, *, database: str = NAME) -> str:
    return f"postgresql://{NAME}@/{database}?host={quote(str(sockets), safe='')}&port=5432"


def _environment() -> dict[str, str]:
    return {"LC_ALL": "C", **{name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}}


def _python_path() -> str:
    package = Path(otel_obs.__file__).resolve().parents[1]
    return os.pathsep.join([str(package), *(os.path.abspath(path) for path in sys.path if path)])  # noqa: PTH100  # resolves no links


def _open_log(log: Path) -> int:
    """Open the server's log to write to; begin anew when it has grown large."""
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.unlink()
    # Root must not follow a link that the server's account could have put there.
    return os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _tail(home: Path) -> str:
    try:
        return (home / "postgres.log").read_text(errors="replace")[-4000:]
    except OSError:
        return ""


def _is_supervised(data_dir: Path) -> bool:
    with FileLock(data_dir / "supervisor.lock") as lock:
        return not lock.try_exclusive()


def _answers(uri: str) -> bool:
    try:
        psycopg.connect(uri, connect_timeout=2, autocommit=True).close()
    except psycopg.Error:
        return False
    return True


def _has_database(uri: str) -> bool:
    """Make our database if it is missing; return False while the server does not answer, or is about to end."""
    try:
        with psycopg.connect(uri, connect_timeout=2, autocommit=True) as connection:
            if connection.execute(_EMBEDDED["has_database"]).fetchone() is None:
                connection.execute(_EMBEDDED["create_database"])
    except psycopg.OperationalError:
        return False
    return True
