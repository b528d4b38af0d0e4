"""What lies in folders that a program at work changes meanwhile."""

from __future__ import annotations

import os
from fnmatch import fnmatch
from pathlib import Path


def files(folder: Path, pattern: str = "*") -> list[Path]:
    """Return the files below a folder whose names match, in the order of their paths.

    A folder that goes away while one looks is as good as empty; `Path.rglob` raises there.
    """
    return sorted(Path(at, name) for at, _, names in os.walk(folder) for name in names if fnmatch(name, pattern))
