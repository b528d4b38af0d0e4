"""A process that keeps an embedded server up while anybody uses it, and stops it with the last user.

Run by ``EmbeddedPostgres``: ``python -m otel_obs.postgres.supervisor DATA_DIR UID GID POSTGRES ARGUMENT ...``.
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
MAX_RESTARTS = 20
_PR_SET_PDEATHSIG = 1


def supervise(data_dir: Path, account: Account, command: list[str]) -> int:
    """Run *command* until nobody uses it any more; return an exit code."""
    own = FileLock(data_dir / "supervisor.lock")
    if not own.exclusive(5.0):
        return 0
    server = FileLock(data_dir / "server.lock")
    users = FileLock(data_dir / "users.lock")
    running = _start(account, command)
    restarts = 0
    while True:
        time.sleep(POLL_S)
        if running.poll() is not None:
            restarts += 1
            if restarts > MAX_RESTARTS:
                return 1
            running = _start(account, command)
        if not server.try_exclusive():
            continue
        if users.try_exclusive():
            _stop(running)
            return 0
        server.release()


def _start(account: Account, command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_end_with_parent,  # noqa: PLW1509  # this process has one thread
        **account.as_user(),
    )


def _end_with_parent() -> None:
    """Ask Linux to stop the server if its supervisor is killed; elsewhere the next user adopts it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _stop(running: subprocess.Popen[bytes]) -> None:
    """Stop the server: its sessions are cut, its data is written."""
    running.send_signal(signal.SIGINT)
    try:
        running.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGQUIT)
        running.wait()


def main(arguments: list[str]) -> int:
    """Read the command line, and supervise."""
    data_dir, uid, gid, *command = arguments
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Who stops a user's whole process group means the user; the server goes when all users are gone.
        signal.signal(number, signal.SIG_IGN)
    if os.fork():
        # Nobody's child, so that nobody has to wait for us.
        return 0
    account = Account(int(uid), int(gid), is_other=int(uid) != os.geteuid())
    return supervise(Path(data_dir), account, command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
