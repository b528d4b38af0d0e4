"""The ``otel-obs`` command, run as a process."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from otel_obs.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
NO_SERVER = "postgresql://nobody@127.0.0.1:1/none"
PORTS = ("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")


def environment(**more: str) -> dict[str, str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    # One process starts sooner; what several do is tested where they are asked for.
    return {**known, "PYTHONPATH": str(ROOT), "OTEL_OBS_WORKERS": "1", **more}


def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "otel_obs", *arguments],
        env=environment(**more), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def inside(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, which is quicker, with standard output and error apart."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, more),
        mock.patch.object(sys, "argv", ["otel-obs", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as left,
    ):
        main()
    code = left.value.code
    return subprocess.CompletedProcess(arguments, code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())


class Running:
    """A command that runs until it is told to stop."""

    def __init__(self, *arguments: str, **more: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "otel_obs", *arguments],
            env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ready(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready"), line
        return line

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors
