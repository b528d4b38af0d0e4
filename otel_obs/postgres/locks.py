"""Files that processes lock: the kernel lets go when a process dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from typing_extensions import Self


class FileLock:
    """A lock on a file, shared or exclusive."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def try_exclusive(self) -> bool:
        """Take the lock if nobody has it."""
        return self._try(fcntl.LOCK_EX)

    def exclusive(self, timeout_s: float) -> bool:
        """Take the lock once nobody has it; return False if that took too long."""
        return self._within(timeout_s, fcntl.LOCK_EX)

    def shared(self, timeout_s: float) -> bool:
        """Take the lock together with others that share it; return False if that took too long."""
        return self._within(timeout_s, fcntl.LOCK_SH)

    def release(self) -> None:
        """Let go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _within(self, timeout_s: float, kind: int) -> bool:
        until = time.monotonic() + timeout_s
        while not self._try(kind):
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True

    def _try(self, kind: int) -> bool:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            os.close(descriptor)
            raise
        self.release()
        self._descriptor = descriptor
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.release()
