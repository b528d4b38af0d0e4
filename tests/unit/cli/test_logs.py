"""Lines of a log: parsable, seldom, and without what was sent."""

from __future__ import annotations

import logging
import shlex
import sys
from typing import Any

from otel_obs.cli.logs import Logfmt, Seldom

SECRET = "what somebody asked a model"


def record(message: str, *arguments: Any, error: bool = False) -> logging.LogRecord:
    info: Any = None
    if error:
        try:
            _ = dict[str, int]()[SECRET]
        except KeyError:
            info = sys.exc_info()
    return logging.LogRecord("otel_obs.x", logging.WARNING, "x.py", 1, message, arguments, info)


def fields(line: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in shlex.split(line))


def test_a_line_is_key_and_value() -> None:
    found = fields(Logfmt().format(record('it "waits": %s', 5)))

    assert found.keys() == {"time", "level", "logger", "msg"}
    assert (found["level"], found["logger"], found["msg"]) == ("warning", "otel_obs.x", 'it "waits": 5')
    assert found["time"].endswith("Z")


def test_a_line_is_one_line_whatever_is_in_it() -> None:
    assert "\n" not in Logfmt().format(record("a\nb\x00\u2028c"))


def test_of_an_exception_its_type_and_places_are_told_and_not_its_message() -> None:
    line = Logfmt().format(record("a request failed", error=True))

    assert SECRET not in line
    assert fields(line)["error"] == "KeyError"
    assert fields(line)["at"].startswith("record:")


def test_the_same_message_is_said_once_in_a_while_with_how_often_it_was_left_out() -> None:
    now = [0.0]
    seldom = Seldom(every_s=10, clock=lambda: now[0])
    said = []
    for _ in range(25):
        one = record("away: %s", now[0])
        if seldom.filter(one):
            said.append((now[0], getattr(one, "left_out", 0)))
        now[0] += 1

    assert said == [(0, 0), (10, 9), (20, 9)]
    assert seldom.filter(record("something else"))
    assert "left_out=9" in Logfmt().format(one_with(left_out=9))


def one_with(**more: Any) -> logging.LogRecord:
    found = record("x")
    found.__dict__.update(more)
    return found
