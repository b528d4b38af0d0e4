# ruff: noqa: INP001 -- a program
"""What do a server and its children take of the machine?"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def cpu_s(root: int) -> float:
    """Return the CPU time of the process *root* and of all below it, those that ended included."""
    return sum(_stat(pid)[1] for pid in tree(root)) / _TICKS_A_SECOND


def memory_mb(root: int) -> float:
    """Return the memory of *root* and of all below it; what they share counts once."""
    found = 0
    for pid in tree(root):
        with contextlib.suppress(OSError), (_PROC / str(pid) / "smaps_rollup").open() as lines:
            found += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return found / 1024


def tree(root: int) -> list[int]:
    """Return *root* and all processes below it."""
    below: dict[int, list[int]] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            below.setdefault(_stat(int(folder.name))[0], []).append(int(folder.name))
    found = [root]
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
