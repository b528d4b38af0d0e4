"""Whose folder is it? A lock beside each folder says so, and the kernel releases it when its process dies.

The lock is taken before its folder is made and goes after it: who holds the lock of a folder that exists owns it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Self

_PREFIX = "owner-"


@dataclass(slots=True)
class OwnedFolder:
    """A folder that this process alone writes to and reads from."""

    path: Path
    _descriptor: int

    @classmethod
    def new(cls, parent: Path) -> Self:
        """Make a folder in *parent*, for this process.

        Raises:
            OSError: it cannot be made.
        """
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = parent / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        descriptor = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            path.mkdir(mode=0o700)
            found = cls(path, descriptor)
            _sync(parent)
        except OSError:
            os.close(descriptor)
            raise
        return found

    def exists(self) -> bool:
        """Tell whether nobody has deleted it meanwhile."""
        return self.path.is_dir()

    def sync(self) -> None:
        """Bring the names of its files to disk."""
        _sync(self.path)

    def forget(self) -> None:
        """Leave it to the next process; or, in a child after a fork, to the parent, which still holds the lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def remove(self) -> None:
        """Delete it and its lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):
            _lock_of(self.path).unlink(missing_ok=True)
        self.forget()


def adopt_folders(parent: Path) -> list[OwnedFolder]:
    """Return the folders in *parent* whose owners are dead, each owned from now on."""
    paths = sorted(path for path in parent.glob(f"{_PREFIX}*") if path.suffix != ".lock")
    return [found for path in paths if (found := _adopted(path)) is not None]


def _adopted(path: Path) -> OwnedFolder | None:
    try:
        descriptor = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    if path.is_dir() and os.fstat(descriptor).st_nlink:
        return OwnedFolder(path, descriptor)
    with suppress(OSError):
        if os.fstat(descriptor).st_nlink:
            _lock_of(path).unlink(missing_ok=True)
    os.close(descriptor)
    return None


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
