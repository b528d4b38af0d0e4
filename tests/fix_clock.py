"""Another time for a process than the machine's, by libfaketime; without it tests are skipped (see `make clock`).

Only the wall clock is changed: the monotonic one goes on as it is, as it does when an operator or NTP sets a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from tests.command import ROOT

SLEEP = """
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""
"""Where the monotonic clock is left alone, libfaketime 0.9.10 refuses what Python's sleep is made of."""
LIBRARIES = tuple(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


class HostClock:
    """The clock of the processes that are started with ``environment``; it can be set while they run."""

    def __init__(self, folder: Path) -> None:
        if not LIBRARIES:
            pytest.skip("libfaketime is not installed here: `make clock` installs it (Debian's package faketime)")
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(SLEEP)
        self._file = folder / "clock"
        self.set(timedelta(0))

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": f"{ROOT}:{self._file.parent}",
        }

    def set(self, ahead: timedelta) -> None:
        """Set the clock *ahead* of the machine's; less than nothing is behind it."""
        half = self._file.with_suffix(".half")
        half.write_text(f"{ahead.total_seconds():+.0f}\n")
        half.replace(self._file)
