"""What does an embedded server need on disk before it starts: its cluster, a folder for its socket, no false locks."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from otel_obs.errors import EmbeddedPostgresError
from otel_obs.postgres.account import Account, hash_of
from otel_obs.postgres.binaries import Binaries

SOCKET = ".s.PGSQL.5432"
"""Of port 5432: https://www.postgresql.org/docs/current/runtime-config-connection.html#GUC-UNIX-SOCKET-DIRECTORIES."""
_SOCKET_PATH_BYTES = 103
"""The shorter of what Linux (107) and macOS (103) accept, so that a folder has one socket on both."""
_BUILTIN_LOCALES_SINCE = 17


def socket_folder(home: Path, account: Account) -> Path:
    """Return the folder of the socket: *home*, or a short one if the path would be too long for a socket."""
    if len(os.fsencode(home / SOCKET)) <= _SOCKET_PATH_BYTES:
        return home
    # Not the folder that TMPDIR names: processes that share a server may differ in it.
    return Path("/tmp") / f"otel_obs-{account.uid}-{hash_of(str(home)):016x}"  # noqa: S108  # its owner is checked


def make_cluster(
    binaries: Binaries, cluster: Path, account: Account, *, superuser: str, environment: Mapping[str, str]
) -> None:
    """Make *cluster* beside its place, then put it there: a half-made one is never used.

    Raises:
        EmbeddedPostgresError: initdb failed; the message has its last lines.
    """
    half = cluster.with_name("cluster.new")
    said = ""
    for locale in _locales(binaries.major):
        shutil.rmtree(half, ignore_errors=True)
        made = subprocess.run(  # type: ignore[call-overload]
            [
                binaries.initdb, "--pgdata", half, "--username", superuser, "--auth", "trust", "--encoding", "UTF8",
                *locale,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cluster.parent,
            env=environment,
            check=False,
            text=True,
            errors="replace",
            **account.as_user(),
        )  # fmt: skip
        if made.returncode == 0:
            half.rename(cluster)
            return
        said = made.stdout
    raise EmbeddedPostgresError(f"initdb failed: {last_lines(said)}")


def _locales(major: int) -> list[list[str]]:
    """Return options of initdb to try: text sorts by code point, letters are Unicode's where that is possible."""
    if major >= _BUILTIN_LOCALES_SINCE:
        return [["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]]
    return [["--locale=C", "--lc-ctype=C.UTF-8"], ["--locale=C"]]


def forget_strangers(cluster: Path, sockets: Path) -> None:
    """Remove lock files of a dead server whose process id is another program's by now.

    PostgreSQL takes any living process of its account for the server: after a restart of a container, whose few
    process ids come again, or for a zombie that nobody waits for. (What survives of a killed server is another
    matter: PostgreSQL finds that by its shared memory.)
    """
    pid_file = cluster / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split()[0])
        state = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, ValueError, IndexError):
        return
    program, _, rest = state.partition("(")[2].rpartition(")")
    if program != "postgres" or rest.split()[0] in {"Z", "X"}:
        pid_file.unlink(missing_ok=True)
        (sockets / f"{SOCKET}.lock").unlink(missing_ok=True)


def last_lines(text: str, count: int = 5) -> str:
    """Return the end of *text* in one line."""
    return " / ".join(line.strip() for line in text.strip().splitlines()[-count:]) or "it says nothing"
