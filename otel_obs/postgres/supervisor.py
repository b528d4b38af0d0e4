"""A process that keeps an embedded server up while anybody uses it, and stops it with the last user.

Run by ``EmbeddedPostgres``: ``supervisor DATA_DIR UID GID CLUSTER POSTGRES ARGUMENT ...``.
Each user holds a shared lock on ``users.lock``; when nobody does, the server is stopped. Whoever starts or
stops it holds ``server.lock`` meanwhile; ``supervisor.lock`` is ours as long as we live.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from otel_obs.postgres.account import Account
from otel_obs.postgres.locks import FileLock

POLL_S = 0.2
STOP_WITHIN_S = 60.0
_PR_SET_PDEATHSIG = 1


class Server:
    """The server: our child, started again when it dies."""

    HEALTHY_AFTER_S = 2.0
    FAILURES = 5
    """In a row, none of them healthy before: it is broken."""
    REMAINS_WITHIN_S = 120.0
    """How long what is left of a killed server may hold on to memory or finish its shutdown."""

    def __init__(self, account: Account, cluster: Path, command: list[str]) -> None:
        self._account = account
        self._cluster = cluster
        self._command = command
        self._failures = 0
        self._failing_since = 0.0
        self._process = self._start()

    def keep_up(self) -> bool:
        """Start the server if it has ended; return False if that is of no use any more."""
        if self._process.poll() is None:
            return True
        now = time.monotonic()
        if self._failures == 0 or now - self._started > self.HEALTHY_AFTER_S:
            self._failures, self._failing_since = 0, now
        self._failures += 1
        if self._failures > self.FAILURES and not self._remains(now):
            return False
        self._process = self._start()
        return True

    def stop(self) -> None:
        """Stop the server: its sessions are cut, its data is written."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()

    def _remains(self, now: float) -> bool:
        """Tell whether a server killed before may still be in the way: one that just fails takes its pid file along."""
        return (self._cluster / "postmaster.pid").exists() and now - self._failing_since < self.REMAINS_WITHIN_S

    def _start(self) -> subprocess.Popen[bytes]:
        self._started = time.monotonic()
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            self._command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509  # this process has one thread
            **self._account.as_user(),
        )


def supervise(data_dir: Path, server: Server) -> int:
    """Keep *server* up until nobody uses it any more; return an exit code."""
    starting = FileLock(data_dir / "server.lock")
    users = FileLock(data_dir / "users.lock")
    while server.keep_up():
        if starting.try_exclusive():
            if users.try_exclusive():
                server.stop()
                return 0
            starting.release()
        time.sleep(POLL_S)
    return 1


def _end_with_parent() -> None:
    """Ask Linux to stop the server if its supervisor is killed; elsewhere the next user adopts it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def main(arguments: list[str]) -> int:
    """Read the command line, and supervise; return once somebody supervises."""
    data_dir, uid, gid, cluster, *command = arguments
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Who stops a user's whole process group means the user; the server goes when all users are gone.
        signal.signal(number, signal.SIG_IGN)
    with FileLock(Path(data_dir) / "supervisor.lock") as own:
        if not own.exclusive(STOP_WITHIN_S):
            return 1
        if os.fork():
            # Nobody's child, so that nobody has to wait for us; it holds the lock now.
            return 0
        account = Account(int(uid), int(gid), is_other=int(uid) != os.geteuid())
        return supervise(Path(data_dir), Server(account, Path(cluster), command))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
