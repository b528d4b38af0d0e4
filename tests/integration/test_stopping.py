"""Programs end when they are told to, whichever thread of theirs is told."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.command import environment

PROGRAM = """
import signal, sys, threading, time
from otel_obs.cli.running import stop_signals

def tell():
    time.sleep(0.2)
    signal.pthread_kill(threading.get_ident(), signal.{signal})
    threading.Event().wait()

with stop_signals() as stop:
    assert not stop.is_set()
    assert not stop.wait(0.01)
    threading.Thread(target=tell, daemon=True).start()
    assert stop.wait({timeout})
    assert stop.is_set()
"""


@pytest.mark.parametrize("timeout", ["None", "50"])
@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_signal_that_another_thread_got_ends_the_wait(number: str, timeout: str) -> None:
    program = PROGRAM.format(signal=number, timeout=timeout)

    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=False, timeout=60
    )

    assert (ended.returncode, ended.stderr) == (0, "")


def test_other_signals_do_not() -> None:
    program = """
import os, signal
from otel_obs.cli.running import stop_signals

with stop_signals() as stop:
    signal.signal(signal.SIGUSR1, lambda *_: None)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert not stop.wait(0.2)
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.wait(50)
"""

    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=False, timeout=60
    )

    assert (ended.returncode, ended.stderr) == (0, "")
