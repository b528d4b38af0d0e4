"""A PostgreSQL of one's own: made on first use, shared by the processes of one data folder, gone with the last.

Everything lies in the data folder; there is no TCP port. The server is reached through a Unix socket in a
folder that nobody but its account may enter, and so it asks for no password.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import psycopg

from otel_obs.errors import EmbeddedPostgresError
from otel_obs.postgres.account import SYSTEM_HOME, Account, hash_of, of_this_process, reachable_programs
from otel_obs.postgres.binaries import Binaries, find
from otel_obs.postgres.locks import FileLock
from otel_obs.postgres.queries import load

_EMBEDDED = load("embedded")

NAME = "otel_obs"
"""Of the role and of the database."""
READY_WITHIN_S = 120.0
"""Recovery after a crash may take its time."""
_SOCKET_PATH_BYTES = 107
_SOCKET = ".s.PGSQL.5432"
_LOG_BYTES = 10 * 1024 * 1024

_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "max_connections": "60",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
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


class EmbeddedPostgres:
    """The server of one data folder, used by this process from ``start()`` to ``close()``."""

    def __init__(self, data_dir: Path, *, bin_dir: Path | None = None, durable: bool = True) -> None:
        self._data_dir = data_dir
        self._bin_dir = bin_dir
        self._durable = durable
        self._users = FileLock(data_dir / "users.lock")

    def start(self) -> str:
        """Return the URI of the running server; start it, and make its cluster, if need be.

        Raises:
            EmbeddedPostgresError: it cannot run here; the message says what can be done.
        """
        account = of_this_process()
        self._data_dir.mkdir(mode=0o711 if account.is_other else 0o700, parents=True, exist_ok=True)
        home = _home(self._data_dir, account)
        with FileLock(self._data_dir / "server.lock") as server:
            if not server.exclusive(READY_WITHIN_S):
                raise EmbeddedPostgresError(f"another process keeps {self._data_dir} locked")
            self._users.try_shared()
            try:
                self._run(account, home)
            except BaseException:
                self._users.release()
                raise
        return _uri(_socket_folder(home, account))

    def close(self) -> None:
        """Use it no longer; the server stops soon after its last user."""
        self._users.release()

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    def _run(self, account: Account, home: Path) -> None:
        sockets = _socket_folder(home, account)
        if not _is_supervised(self._data_dir):
            _make_sockets(sockets, home, account)
            binaries = self._binaries(home, account)
            if not (home / "cluster").exists():
                _make_cluster(binaries, home, account)
            self._supervise(binaries, home, sockets, account)
        _wait(self._data_dir, _uri(sockets, database="postgres"), home / "postgres.log")
        _make_database(_uri(sockets, database="postgres"))

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
        arguments = [item for name, value in settings.items() for item in ("-c", f"{name}={value}")]
        log = home / "postgres.log"
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.unlink()
        # Not the working directory's modules, and no environment variables that mean another server.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        command = [binaries.postgres, "-D", home / "cluster", *arguments]
        with log.open("ab") as output:
            subprocess.run(
                [
                    sys.executable, "-m", "otel_obs.postgres.supervisor", str(self._data_dir),
                    str(account.uid), str(account.gid), *map(str, command),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                check=True,
                env={**environment, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "LC_ALL": "C"},
            )  # fmt: skip


def dsn_of(data_dir: Path) -> str:
    """Return the URI that the server of *data_dir* has, running or not.

    Raises:
        EmbeddedPostgresError: no server can run for this process.
    """
    account = of_this_process()
    return _uri(_socket_folder(_home(data_dir, account), account))


def running_dsn(data_dir: Path) -> str | None:
    """Return the URI of the server of *data_dir* if it answers now."""
    try:
        uri = dsn_of(data_dir)
    except EmbeddedPostgresError:
        return None
    return uri if _answers(uri) else None


def _home(data_dir: Path, account: Account) -> Path:
    """Return the folder of cluster, log and socket; root's account cannot enter root's own folders."""
    home = data_dir / "postgres"
    if account.reaches(home):
        return home
    return SYSTEM_HOME / f"{hash_of(str(data_dir.resolve())):016x}"


def _socket_folder(home: Path, account: Account) -> Path:
    """Return the folder of the socket: *home*, or a short one if the path would be too long for a socket."""
    if len(os.fsencode(home / _SOCKET)) <= _SOCKET_PATH_BYTES:
        return home
    return Path(tempfile.gettempdir()) / f"otel_obs-{account.uid}-{hash_of(str(home)):016x}"


def _make_sockets(sockets: Path, home: Path, account: Account) -> None:
    account.make_private(home)
    if sockets == home:
        return
    try:
        sockets.mkdir(mode=0o700)
    except FileExistsError:
        found = sockets.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {account.uid, os.geteuid()} or found.st_mode & 0o077:
            raise EmbeddedPostgresError(f"{sockets} is somebody else's: the socket cannot be put there") from None
    account.make_private(sockets)


def _uri(sockets: Path, *, database: str = NAME) -> str:
    return f"postgresql://{NAME}@/{database}?host={quote(str(sockets), safe='')}&port=5432"


def _make_cluster(binaries: Binaries, home: Path, account: Account) -> None:
    """Make the cluster beside its place, then put it there: a half-made one is never used."""
    half = home / f"cluster.{os.getpid()}"
    arguments = [
        binaries.initdb, "--pgdata", half, "--username", NAME, "--auth", "trust", "--encoding", "UTF8", "--locale", "C",
    ]  # fmt: skip
    made = subprocess.run(  # type: ignore[call-overload]
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=home,
        env={"LC_ALL": "C", "PATH": os.environ.get("PATH", "")},
        check=False,
        text=True,
        **account.as_user(),
    )
    if made.returncode != 0:
        raise EmbeddedPostgresError(f"initdb failed: {_last_lines(made.stdout)}")
    half.rename(home / "cluster")


def _is_supervised(data_dir: Path) -> bool:
    with FileLock(data_dir / "supervisor.lock") as lock:
        return not lock.try_exclusive()


def _wait(data_dir: Path, uri: str, log: Path) -> None:
    """Wait until the server answers; give up once its supervisor has, or after two minutes."""
    started = time.monotonic()
    while not _answers(uri):
        waited = time.monotonic() - started
        if waited > READY_WITHIN_S or (waited > 6 and not _is_supervised(data_dir)):
            raise EmbeddedPostgresError(f"the server does not start: {_last_lines(_tail(log))}")
        time.sleep(0.05)


def _answers(uri: str) -> bool:
    try:
        psycopg.connect(uri, connect_timeout=2, autocommit=True).close()
    except psycopg.Error:
        return False
    return True


def _make_database(uri: str) -> None:
    with psycopg.connect(uri, autocommit=True) as connection:
        if connection.execute(_EMBEDDED["has_database"]).fetchone() is None:
            connection.execute(_EMBEDDED["create_database"])


def _tail(log: Path) -> str:
    try:
        return log.read_text(errors="replace")[-4000:]
    except OSError:
        return ""


def _last_lines(text: str, count: int = 5) -> str:
    return " / ".join(line.strip() for line in text.strip().splitlines()[-count:]) or "it says nothing"
