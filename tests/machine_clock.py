"""Processes whose clock is not the machine's: libfaketime, Debian's ``faketime`` (``make faults``).

What is monotonic stays so, as on a machine whose clock somebody sets.
"""

from __future__ import annotations

from pathlib import Path

import pytest

LIBRARIES = "usr/lib/*/faketime/libfaketimeMT.so.1"


class MachineClock:
    """A clock that can be set while processes look at it."""

    def __init__(self, file: Path, library: Path) -> None:
        self._file = file
        self._library = library
        self.set("+0")

    def set(self, said: str) -> None:
        """Set it: ``-1h``, ``+1d`` from what the machine says, or ``@2026-11-29 23:59:58``."""
        half = self._file.with_suffix(".half")
        half.write_text(f"{said}\n")
        half.replace(self._file)

    @property
    def variables(self) -> dict[str, str]:
        """What a process needs in its environment to look at it."""
        return {
            "LD_PRELOAD": str(self._library), "FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1", "TZ": "UTC",
        }  # fmt: skip


@pytest.fixture
def clocks(tmp_path: Path) -> list[MachineClock]:
    """Give two clocks that have nothing to do with each other."""
    found = sorted(Path("/").glob(LIBRARIES))
    if not found:
        pytest.skip("libfaketime is not installed: make faults")
    return [MachineClock(tmp_path / f"clock-{number}", found[0]) for number in range(2)]
