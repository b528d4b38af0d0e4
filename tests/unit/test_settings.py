"""What an operator can decide, what holds if they do not, and what they are told of a value that cannot be."""

from __future__ import annotations

import base64
from dataclasses import fields
from pathlib import Path

import platformdirs
import pytest

from otel_obs.errors import ConfigurationError
from otel_obs.settings import SETTINGS, Settings, host_and_port, is_loopback, unknown_variables

KEY = bytes(range(32))
KEY_TEXT = base64.b64encode(KEY).decode()
DEFAULTS: dict[str, object] = {
    "database_url": None,
    "direct_database_url": None,
    "data_dir": Path(platformdirs.user_data_dir("otel_obs")),
    "grpc_endpoint": "127.0.0.1:4317",
    "http_endpoint": "127.0.0.1:4318",
    "organization_id": "default",
    "workspace_id": "default",
    "content": "store",
    "spans": "all",
    "estimate_tokens": False,
    "workers": 0,
    "spool_max_bytes": 1024**3,
    "encryption_keys": (),
    "max_memory_bytes": 0,
    "session_idle_minutes": 60,
    "max_spans_per_second": 0,
    "max_bytes_per_second": 0,
    "max_bytes_per_day": 0,
    "max_stored_bytes": 0,
    "trusted_proxies": (),
    "max_request_bytes": 64 * 1024 * 1024,
    "max_content_bytes": 4 * 1024 * 1024,
}
"""As the README lists them."""
OTHERS: dict[str, tuple[str, object]] = {
    "DATABASE_URL": ("postgresql://db/x", "postgresql://db/x"),
    "DIRECT_DATABASE_URL": ("host=db dbname=x", "host=db dbname=x"),
    "DATA_DIR": ("/srv/otel", Path("/srv/otel")),
    "GRPC_ENDPOINT": ("[::1]:0", "[::1]:0"),
    "HTTP_ENDPOINT": ("localhost:8080", "localhost:8080"),
    "ORGANIZATION_ID": ("Büro", "Büro"),
    "WORKSPACE_ID": ("w 1", "w 1"),
    "CONTENT": ("drop", "drop"),
    "SPANS": ("genai", "genai"),
    "ESTIMATE_TOKENS": ("on", True),
    "WORKERS": ("2", 2),
    "SPOOL_MAX_BYTES": ("0", 0),
    "ENCRYPTION_KEYS": (f"b:{KEY_TEXT}, a:{KEY_TEXT}", (("b", KEY), ("a", KEY))),
    "MAX_MEMORY_BYTES": ("1", 1),
    "SESSION_IDLE_MINUTES": ("5", 5),
    "MAX_SPANS_PER_SECOND": ("100", 100),
    "MAX_BYTES_PER_SECOND": ("1000", 1000),
    "MAX_BYTES_PER_DAY": ("1", 1),
    "MAX_STORED_BYTES": ("9223372036854775807", 2**63 - 1),
    "TRUSTED_PROXIES": ("10.0.0.7/8, ::1", ("10.0.0.0/8", "::1/128")),
    "MAX_REQUEST_BYTES": ("1", 1),
    "MAX_CONTENT_BYTES": ("1024", 1024),
}
BAD = [
    *((name, value) for name in ("GRPC_ENDPOINT", "HTTP_ENDPOINT")
      for value in ("4317", "localhost", ":4317", "localhost:", "localhost:http", "localhost:65536", "localhost:-1")),
    ("CONTENT", "encrypt"), ("CONTENT", "Drop"), ("CONTENT", "sample"), ("CONTENT", "sample:101"),
    ("TRUSTED_PROXIES", "proxy.example"), ("MAX_STORED_BYTES", str(2**63)), ("MAX_SPANS_PER_SECOND", "1.5"),
    ("SPANS", "some"), ("SPANS", "GenAI"),
    ("ESTIMATE_TOKENS", "yes"), ("ESTIMATE_TOKENS", "1"),
    *(("SESSION_IDLE_MINUTES", value) for value in ("1", "721", "-5", "1h")),
    ("WORKERS", "0"), ("WORKERS", "many"), ("WORKERS", "1000"),
    *((name, value) for name in ("SPOOL_MAX_BYTES", "MAX_MEMORY_BYTES") for value in ("-1", "1GiB")),
    *((name, value) for name in ("MAX_REQUEST_BYTES", "MAX_CONTENT_BYTES") for value in ("0", "-1", "4MiB", "1.5")),
    *((name, value) for name in ("ORGANIZATION_ID", "WORKSPACE_ID") for value in ("a\tb", "a\x85b", "x" * 201)),
]  # fmt: skip


def value_of(settings: Settings, name: str) -> object:
    found: object = getattr(settings, name.lower())
    return found


@pytest.mark.parametrize("name", DEFAULTS)
def test_what_nobody_decided_is_the_default(name: str) -> None:
    assert value_of(Settings.from_env({}), name) == DEFAULTS[name]


def test_each_setting_is_listed_once_and_explained() -> None:
    assert sorted(setting.name.lower() for setting in SETTINGS) == sorted(field.name for field in fields(Settings))
    assert all(setting.help for setting in SETTINGS)


@pytest.mark.parametrize("name", OTHERS)
def test_a_variable_decides_over_the_default(name: str) -> None:
    text, value = OTHERS[name]

    assert value_of(Settings.from_env({f"OTEL_OBS_{name}": text}), name) == value


@pytest.mark.parametrize("name", OTHERS)
def test_an_option_decides_over_the_variable(name: str) -> None:
    text, value = OTHERS[name]

    found = Settings.from_env({f"OTEL_OBS_{name}": "what would be refused\n"}, {name: text})

    assert value_of(found, name) == value


@pytest.mark.parametrize("option", ["", None], ids=["empty", "not given"])
@pytest.mark.parametrize("name", OTHERS)
def test_an_empty_option_leaves_the_decision_to_the_variable(name: str, option: str | None) -> None:
    text, value = OTHERS[name]

    assert value_of(Settings.from_env({f"OTEL_OBS_{name}": text}, {name: option}), name) == value


@pytest.mark.parametrize("name", OTHERS)
def test_an_empty_variable_is_as_none(name: str) -> None:
    assert value_of(Settings.from_env({f"OTEL_OBS_{name}": ""}), name) == DEFAULTS[name.lower()]


@pytest.mark.parametrize(("name", "value"), BAD, ids=lambda part: part[:20])
def test_a_value_that_cannot_be_is_named_with_its_variable(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings.from_env({f"OTEL_OBS_{name}": value})

    assert f"OTEL_OBS_{name}" in str(refused.value)
    assert repr(value) in str(refused.value)


@pytest.mark.parametrize(
    "value", ["secret", "a:secret", f":{KEY_TEXT}", f"a:{KEY_TEXT[:20]}", f"a:{KEY_TEXT},a:{KEY_TEXT}"]
)
def test_a_key_that_cannot_be_is_not_shown(value: str) -> None:
    with pytest.raises(ConfigurationError, match="OTEL_OBS_ENCRYPTION_KEYS") as refused:
        Settings.from_env({"OTEL_OBS_ENCRYPTION_KEYS": value})

    assert value not in str(refused.value)
    assert KEY_TEXT not in repr(Settings.from_env({"OTEL_OBS_ENCRYPTION_KEYS": f"a:{KEY_TEXT}"}))


def test_an_option_that_cannot_be_is_named_too() -> None:
    with pytest.raises(ConfigurationError, match=r"SPANS='none'"):
        Settings.from_env({"OTEL_OBS_SPANS": "all"}, {"SPANS": "none"})


def test_a_data_folder_is_absolute_and_may_begin_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    assert Settings.from_env({"OTEL_OBS_DATA_DIR": "here"}).data_dir == tmp_path / "here"
    assert Settings.from_env({"OTEL_OBS_DATA_DIR": "~/data"}).data_dir == tmp_path / "home" / "data"


def test_variables_that_look_like_settings_and_are_none_are_told() -> None:
    environ = {"OTEL_OBS_SPAN": "x", "OTEL_OBS_SPANS": "all", "OTEL_SERVICE_NAME": "x", "OTEL_OBS_A": "", "PATH": "x"}

    assert unknown_variables(environ) == ["OTEL_OBS_A", "OTEL_OBS_SPAN"]


@pytest.mark.parametrize(
    ("endpoint", "expected", "loopback"),
    [
        ("127.0.0.1:4317", ("127.0.0.1", 4317), True),
        ("127.9.9.9:1", ("127.9.9.9", 1), True),
        ("localhost:0", ("localhost", 0), True),
        ("[::1]:4318", ("::1", 4318), True),
        ("0.0.0.0:4317", ("0.0.0.0", 4317), False),  # noqa: S104
        ("[::]:4317", ("::", 4317), False),
        ("10.0.0.1:4317", ("10.0.0.1", 4317), False),
        ("localhost.example.org:4317", ("localhost.example.org", 4317), False),
    ],
)
def test_an_address_is_read_and_known_as_this_machines_own(
    endpoint: str, expected: tuple[str, int], loopback: bool
) -> None:
    assert host_and_port(endpoint) == expected
    assert is_loopback(endpoint) == loopback
