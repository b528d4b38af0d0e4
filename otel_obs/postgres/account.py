"""As whom does the embedded server run, and what can that account reach?

PostgreSQL refuses to run as root, so root hands it to an unprivileged account.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
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
        """Make *folder*, which nobody but this account and root may enter; never touch what is above it.

        Raises:
            EmbeddedPostgresError: something that is not ours stands there.
        """
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {self.uid, os.geteuid()}:
            raise EmbeddedPostgresError(f"{folder} belongs to somebody else: it cannot be used")
        if self.is_other and found.st_uid == self.uid:
            # Root changes nothing here: the account could put a link to something else in its place meanwhile.
            if found.st_mode & 0o077:
                raise EmbeddedPostgresError(f"{folder} is open to others: its mode must be 0700")
            return
        folder.chmod(0o700)
        if self.is_other:
            os.chown(folder, self.uid, self.gid, follow_symlinks=False)

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


def home_of(data_dir: Path) -> tuple[Account, Path]:
    """Return who runs the server of *data_dir*, and the folder of its cluster, log and socket.

    A cluster that exists decides both: accounts and the modes of folders may change after it was made.

    Raises:
        EmbeddedPostgresError: no server can run for this process.
    """
    account = of_this_process()
    near = data_dir / "postgres"
    if not account.is_other:
        return account, near
    # Root's account cannot enter root's own folders.
    far = SYSTEM_HOME / f"{hash_of(str(data_dir.resolve())):016x}"
    for home in (near, far):
        if (home / "cluster").exists():
            owner = (home / "cluster").stat()
            return Account(owner.st_uid, owner.st_gid, is_other=True), home
    return account, near if account.reaches(near) else far


def reachable_programs(folder: Path, account: Account) -> Path:
    """Return *folder*, or a copy of its installation that *account* can reach."""
    if account.reaches(folder / "postgres"):
        return folder
    installation = folder.parent
    server = (folder / "postgres").stat()
    # An upgrade in place has another size or time.
    build = f"{hash_of(f'{installation} {server.st_size} {server.st_mtime_ns}'):016x}"
    copy = SYSTEM_HOME / f"postgresql-{build}"
    if not copy.exists():
        _copy_installation(installation, copy)
    return copy / installation.parent.name / installation.name / folder.name


def _copy_installation(installation: Path, copy: Path) -> None:
    """Copy *installation* with its libraries, complete or not at all."""
    make_open(copy.parent)
    package = installation.parent
    with tempfile.TemporaryDirectory(prefix=f"{copy.name}.", dir=copy.parent) as scratch:
        half = Path(scratch) / "half"
        shutil.copytree(installation, half / package.name / installation.name, symlinks=True)
        # A wheel's programs look for their libraries in a folder beside their package.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, half / libraries.name, symlinks=True)
        for path in (half, *half.rglob("*")):
            if not path.is_symlink():
                _open_to_all(path)
        try:
            half.rename(copy)
        except OSError:
            if not copy.exists():
                raise


def make_open(folder: Path) -> None:
    """Make *folder* and those above it that do not exist, so that any account may go through them."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        path.chmod(0o711)


def _open_to_all(path: Path) -> None:
    """Let everybody read and run what its owner may, whatever the umask was that it was installed with."""
    mode = stat.S_IMODE(path.stat().st_mode)
    owners = mode & 0o500
    path.chmod(mode | owners >> 3 | owners >> 6)


def hash_of(text: str) -> int:
    """Return a number of 64 bits that names *text* the same way in every process (FNV-1a)."""
    number = 14695981039346656037
    for byte in os.fsencode(text):
        number = ((number ^ byte) * 1099511628211) % 2**64
    return number
