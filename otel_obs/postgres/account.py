"""As whom does the embedded server run, and what can that account reach?

PostgreSQL refuses to run as root, so root hands it to an unprivileged account.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from otel_obs.errors import EmbeddedPostgresError

SYSTEM_HOME = Path("/var/lib/otel_obs")
"""Where root's servers live whose data folder their account cannot reach, such as /root."""
_ACCOUNTS = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the server."""

    uid: int
    gid: int
    is_other: bool
    """It is not who we are: root hands the server to it."""

    def as_user(self) -> dict[str, object]:
        """Return arguments of ``subprocess`` that run a program as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.is_other else {}

    def make_private(self, folder: Path) -> None:
        """Make *folder*, which nobody but this account may enter; never touch what is above it."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.is_other:
            os.chown(folder, self.uid, self.gid)
        folder.chmod(0o700)

    def reaches(self, path: Path) -> bool:
        """Tell whether this account may enter every folder above *path*."""
        return not self.is_other or all(self._enters(parent) for parent in path.resolve().parents)

    def _enters(self, folder: Path) -> bool:
        try:
            found = folder.stat()
        except FileNotFoundError:
            return True
        if found.st_uid == self.uid:
            return bool(found.st_mode & stat.S_IXUSR)
        if found.st_gid == self.gid:
            return bool(found.st_mode & stat.S_IXGRP)
        return bool(found.st_mode & stat.S_IXOTH)


def of_this_process() -> Account:
    """Return the account that runs servers for this process.

    Raises:
        EmbeddedPostgresError: there is none that PostgreSQL would accept.
    """
    uid = os.geteuid()
    if uid != 0:
        try:
            pwd.getpwuid(uid)
        except KeyError:
            raise EmbeddedPostgresError(
                f"PostgreSQL does not run as uid {uid}, which has no entry in the passwd database: "
                "set OTEL_OBS_DATABASE_URL to a server"
            ) from None
        return Account(uid, os.getegid(), is_other=False)
    for name in _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, is_other=True)
    raise EmbeddedPostgresError(
        f"PostgreSQL does not run as root, and there is no account {' or '.join(_ACCOUNTS)} to run it as: "
        "set OTEL_OBS_DATABASE_URL to a server"
    )


def reachable_programs(folder: Path, account: Account) -> Path:
    """Return *folder*, or a copy of its installation that *account* can reach."""
    if account.reaches(folder / "postgres"):
        return folder
    installation = folder.parent
    copy = SYSTEM_HOME / f"postgresql-{abs(hash_of(str(installation))):x}"
    if not (copy / folder.name).exists():
        SYSTEM_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
        half = copy.with_name(f"{copy.name}.{os.getpid()}")
        shutil.copytree(installation, half, symlinks=True)
        half.chmod(0o755)
        try:
            half.rename(copy)
        except OSError:
            # Somebody else was faster.
            shutil.rmtree(half, ignore_errors=True)
    return copy / folder.name


def hash_of(text: str) -> int:
    """Return a number that names *text* the same way in every process."""
    number = 14695981039346656037
    for byte in text.encode():
        number = ((number ^ byte) * 1099511628211) % 2**64
    return number
