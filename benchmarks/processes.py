# ruff: noqa: INP001 -- a program
"""What do a server and its children take of the machine?"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
_AT_REST = 0.05
"""Seconds of CPU in a second."""
_RESTS_WITHIN_S = 60.0


def cpu_s(*roots: int) -> float:
    """Return the CPU time of the processes *roots* and of all below them, those that ended included."""
    return sum(_stat(pid)[1] for pid in tree(*roots)) / _TICKS_A_SECOND


def memory_mb(*roots: int) -> float:
    """Return the memory of *roots* and of all below them; what they share counts once."""
    found = 0
    for pid in tree(*roots):
        with contextlib.suppress(OSError), (_PROC / str(pid) / "smaps_rollup").open() as lines:
            found += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return found / 1024


def rest(*roots: int) -> None:
    """Wait until *roots* and all below them do nothing: they have started, and cleared up after what was before."""
    until, used = time.monotonic() + _RESTS_WITHIN_S, cpu_s(*roots)
    while time.monotonic() < until:
        time.sleep(1.0)
        used, before = cpu_s(*roots), used
        if used - before < _AT_REST:
            return


def tree(*roots: int) -> list[int]:
    """Return *roots* and all processes below them."""
    below: dict[int, list[int]] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            below.setdefault(_stat(int(folder.name))[0], []).append(int(folder.name))
    found = list(roots)
    for pid in found:
        found += below.get(pid, [])
    return found


def _stat(pid: int) -> tuple[int, int]:
    """Return parent and ticks of a process; nothing of one that is gone."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0, 0
    return int(fields[1]), sum(map(int, fields[11:15]))
