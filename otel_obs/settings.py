"""What an operator can decide: ``OTEL_OBS_*`` variables, over which options of the command line win."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from otel_obs.errors import ConfigurationError

PREFIX = "OTEL_OBS_"

MAX_ID_BYTES = 200
MIN_KEY_BYTES = 32
MAX_WORKERS = 64
MAX_DAYS = 300_000
"""Longer than that is for ever."""
REDACTED = ("private_key", "api_key", "token", "email", "card", "phone")
"""What ``OTEL_OBS_REDACT`` can take out."""
CONTENT_RULE = r"store|drop|mask|sample:(?:100|[0-9]{1,2}(?:\.[0-9]{1,4})?)"
"""What may happen to content."""
NO_IDENTIFIER = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What no id may hold: control characters, line ends of Unicode, halves of characters."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its variable is ``OTEL_OBS_`` and the name."""

    name: str
    default: str
    help: str


SETTINGS = (
    Setting("DATABASE_URL", "", "PostgreSQL to use (libpq URI or key=value); without it the embedded one"),
    Setting(
        "DIRECT_DATABASE_URL",
        "",
        "the same database past any connection pooler, for migrations and to hear of changed flags",
    ),
    Setting(
        "DATA_DIR",
        "",
        "folder of the embedded PostgreSQL, of the spool and of run.json; default: the user's data folder",
    ),
    Setting("GRPC_ENDPOINT", "127.0.0.1:4317", "where OTLP/gRPC listens; port 0 takes a free one"),
    Setting("HTTP_ENDPOINT", "127.0.0.1:4318", "where OTLP/HTTP and the health endpoints listen"),
    Setting("API_ENDPOINT", "127.0.0.1:4320", "where the API listens; with `maintain` health and metrics"),
    Setting("WORKERS", "", "processes that share the two addresses; default: as many as there are cores, at most 4"),
    Setting("AUTH", "", "`off` or `keys`; default: off if every address is loopback, else keys, and off is refused"),
    Setting("INSECURE", "off", "`on` allows unencrypted connections from other machines"),
    Setting("TLS_CERT_FILE", "", "certificate (chain, PEM) with which gRPC, HTTP and the API listen"),
    Setting("TLS_KEY_FILE", "", "its key (PEM)"),
    Setting("TLS_CLIENT_CA_FILE", "", "authorities (PEM): only clients with a certificate of theirs get in"),
    Setting("ORGANIZATION_ID", "default", "organization of spans that name none"),
    Setting("WORKSPACE_ID", "default", "workspace of spans that name none, nor any span above them"),
    Setting(
        "CONTENT",
        "store",
        "prompts, answers, tool arguments, results: `store`, `drop`, `mask`, or `sample:PERCENT` of traces",
    ),
    Setting(
        "REDACT", "off", "`on`, or some of private_key, api_key, token, email, card, phone: taken out before storing"
    ),
    Setting("REDACT_HOOK", "", "`module:function` that returns a text of content as it may be stored"),
    Setting("SPANS", "all", "`all`, or `genai` to drop (and count) spans that are not about GenAI"),
    Setting("ESTIMATE_TOKENS", "off", "`on` counts tokens of calls that come without usage, and marks them estimated"),
    Setting("EXECUTORS", "", "executors to report: a TOML file, or `module:function=kind, ...` (read in applications)"),
    Setting(
        "SPOOL_MAX_BYTES", str(1024 * 1024 * 1024), "how much is kept on disk while PostgreSQL is away; 0 keeps nothing"
    ),
    Setting("ENCRYPTION_KEYS", "", "`kid:base64` of 32 bytes or more, several by commas: the first writes, all read"),
    Setting(
        "KMS_HOOK", "", "`module:factory` of a key service that wraps data keys, in place of OTEL_OBS_ENCRYPTION_KEYS"
    ),
    Setting("MAX_MEMORY_BYTES", "0", "at 80 % of it senders are told to come again; 0: half of what there is"),
    Setting("RETENTION_SCHEDULE", "0 2 * * *", "when jobs run: five fields of cron, in UTC"),
    Setting("RETENTION_GRACE_DAYS", "7", "days before fewer days of retention count"),
    Setting("ROLLUP_RETENTION_DAYS", "", "days that roll-ups are kept at least; default: as long as rows"),
    Setting("WEBHOOK_PRIVATE", "off", "`on` lets alerts of budgets be posted inside private networks, and without TLS"),
    Setting(
        "SESSION_IDLE_MINUTES", "60", "a dashboard session that is not used for so long ends, 5 to 720; 0: none does"
    ),
    Setting("MAX_SPANS_PER_SECOND", "0", "spans and log records of an organization, to one gateway; 0: no limit"),
    Setting("MAX_BYTES_PER_SECOND", "0", "of an organization's requests, decompressed, to one gateway; 0: no limit"),
    Setting("MAX_BYTES_PER_DAY", "0", "of an organization's rows accepted in a day (UTC); 0: no limit"),
    Setting("MAX_STORED_BYTES", "0", "of an organization's rows that its plan still keeps; 0: no limit"),
    Setting("TRUSTED_PROXIES", "", "addresses or networks whose X-Forwarded-For tells who asks, by commas"),
    Setting("MAX_REQUEST_BYTES", str(64 * 1024 * 1024), "largest request, before and after decompression"),
    Setting("MAX_CONTENT_BYTES", str(4 * 1024 * 1024), "largest part of a span's content; longer ones are cut"),
)
"""All settings, as the README lists them."""

_READ_BY_THE_BUILD = "COMPILE"
_NAMES = frozenset({_READ_BY_THE_BUILD, *(setting.name for setting in SETTINGS)})
_DEFAULTS = {setting.name: setting.default for setting in SETTINGS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings in force."""

    database_url: str | None
    direct_database_url: str | None
    data_dir: Path
    grpc_endpoint: str
    http_endpoint: str
    workers: int
    """0: as many as there are cores, at most 4."""
    api_endpoint: str
    auth: str
    insecure: bool
    tls_cert_file: Path | None
    tls_key_file: Path | None
    tls_client_ca_file: Path | None
    organization_id: str
    workspace_id: str
    content: str
    redact: frozenset[str]
    redact_hook: str | None
    spans: str
    estimate_tokens: bool
    executors: str | None
    """Read where they run, by ``instrumentation.configuration``."""
    spool_max_bytes: int
    encryption_keys: tuple[tuple[str, bytes], ...] = field(repr=False)
    kms_hook: str | None
    max_memory_bytes: int
    retention_schedule: str
    retention_grace_days: int
    rollup_retention_days: int | None
    webhook_private: bool
    session_idle_minutes: int
    """0: a session lasts as long as any may."""
    max_spans_per_second: int
    max_bytes_per_second: int
    max_bytes_per_day: int
    max_stored_bytes: int
    trusted_proxies: tuple[str, ...]
    """Networks, such as 10.0.0.0/8 or 127.0.0.1/32."""
    max_request_bytes: int
    max_content_bytes: int

    @classmethod
    def from_env(cls, environ: Mapping[str, str], options: Mapping[str, str | None] | None = None) -> Settings:
        """Return the settings: an option, else the variable, else the default; an empty one counts as absent.

        Raises:
            ConfigurationError: a value cannot be used; the message names the variable and the value.
        """

        def value(name: str) -> str:
            option = (options or {}).get(name)
            return option or environ.get(PREFIX + name, "") or _DEFAULTS[name]

        grpc = _endpoint("GRPC_ENDPOINT", value("GRPC_ENDPOINT"))
        http = _endpoint("HTTP_ENDPOINT", value("HTTP_ENDPOINT"))
        api = _endpoint("API_ENDPOINT", value("API_ENDPOINT"))
        cert, key, authorities = (
            _file(value(name)) for name in ("TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE")
        )
        if (cert is None) != (key is None) or (authorities is not None and cert is None):
            raise ConfigurationError("OTEL_OBS_TLS_CERT_FILE and OTEL_OBS_TLS_KEY_FILE are needed together")
        auth = "off" if all(is_loopback(endpoint) for endpoint in (grpc, http, api)) else "keys"
        return cls(
            database_url=value("DATABASE_URL") or None,
            direct_database_url=value("DIRECT_DATABASE_URL") or None,
            data_dir=Path(value("DATA_DIR") or platformdirs.user_data_dir("otel_obs")).expanduser().absolute(),
            grpc_endpoint=grpc,
            http_endpoint=http,
            workers=_count("WORKERS", value("WORKERS")),
            api_endpoint=api,
            auth=_choice("AUTH", value("AUTH") or auth, ("off", "keys")),
            insecure=_choice("INSECURE", value("INSECURE"), ("off", "on")) == "on",
            tls_cert_file=cert,
            tls_key_file=key,
            tls_client_ca_file=authorities,
            organization_id=_identifier("ORGANIZATION_ID", value("ORGANIZATION_ID")),
            workspace_id=_identifier("WORKSPACE_ID", value("WORKSPACE_ID")),
            content=_content("CONTENT", value("CONTENT")),
            redact=_patterns("REDACT", value("REDACT")),
            redact_hook=value("REDACT_HOOK") or None,
            spans=_choice("SPANS", value("SPANS"), ("all", "genai")),
            estimate_tokens=_choice("ESTIMATE_TOKENS", value("ESTIMATE_TOKENS"), ("off", "on")) == "on",
            executors=value("EXECUTORS") or None,
            spool_max_bytes=_bytes("SPOOL_MAX_BYTES", value("SPOOL_MAX_BYTES")),
            encryption_keys=_keys("ENCRYPTION_KEYS", value("ENCRYPTION_KEYS")),
            kms_hook=_hook(value("KMS_HOOK"), value("ENCRYPTION_KEYS")),
            max_memory_bytes=_bytes("MAX_MEMORY_BYTES", value("MAX_MEMORY_BYTES")),
            retention_schedule=value("RETENTION_SCHEDULE"),
            retention_grace_days=_days("RETENTION_GRACE_DAYS", value("RETENTION_GRACE_DAYS")),
            rollup_retention_days=_days_or_none("ROLLUP_RETENTION_DAYS", value("ROLLUP_RETENTION_DAYS")),
            webhook_private=_choice("WEBHOOK_PRIVATE", value("WEBHOOK_PRIVATE"), ("off", "on")) == "on",
            session_idle_minutes=_minutes("SESSION_IDLE_MINUTES", value("SESSION_IDLE_MINUTES")),
            max_spans_per_second=_bytes("MAX_SPANS_PER_SECOND", value("MAX_SPANS_PER_SECOND")),
            max_bytes_per_second=_bytes("MAX_BYTES_PER_SECOND", value("MAX_BYTES_PER_SECOND")),
            max_bytes_per_day=_bytes("MAX_BYTES_PER_DAY", value("MAX_BYTES_PER_DAY")),
            max_stored_bytes=_bytes("MAX_STORED_BYTES", value("MAX_STORED_BYTES")),
            trusted_proxies=_networks("TRUSTED_PROXIES", value("TRUSTED_PROXIES")),
            max_request_bytes=_positive("MAX_REQUEST_BYTES", value("MAX_REQUEST_BYTES")),
            max_content_bytes=_positive("MAX_CONTENT_BYTES", value("MAX_CONTENT_BYTES")),
        )

    def check_listener(self, endpoint: str) -> None:
        """See to it that nobody on another machine can use *endpoint* without a key, nor unencrypted unless wanted.

        Raises:
            ConfigurationError: somebody could.
        """
        if is_loopback(endpoint):
            return
        if self.auth == "off":
            raise ConfigurationError(
                f"{endpoint} can be reached from other machines: OTEL_OBS_AUTH=off is for loopback addresses only"
            )
        if not self.encrypts and not self.insecure:
            raise ConfigurationError(
                f"{endpoint} can be reached from other machines, and keys would travel unencrypted: set "
                "OTEL_OBS_TLS_CERT_FILE and OTEL_OBS_TLS_KEY_FILE, listen on 127.0.0.1 behind what encrypts, or set "
                "OTEL_OBS_INSECURE=on where the network does"
            )

    @property
    def encrypts(self) -> bool:
        """Tell whether connections are encrypted here."""
        return self.tls_cert_file is not None

    @property
    def scheme(self) -> str:
        """``https`` or ``http``: how addresses of these listeners begin."""
        return "https" if self.encrypts else "http"


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return the variables that look like settings and are none: most likely a slip of the pen."""
    return sorted(name for name in environ if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in _NAMES)


def host_and_port(endpoint: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``; an IPv6 address stands in brackets."""
    host, _, port = endpoint.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(endpoint: str) -> bool:
    """Tell whether only this machine can reach *endpoint*."""
    host, _ = host_and_port(endpoint)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _endpoint(name: str, value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigurationError(f"{PREFIX}{name}={value!r}: HOST:PORT is expected, such as 127.0.0.1:4318")
    return value


def _patterns(name: str, value: str) -> frozenset[str]:
    if value in ("on", "off"):
        return frozenset(REDACTED if value == "on" else ())
    return frozenset(_choice(name, part.strip(), REDACTED) for part in value.split(","))


def _hook(value: str, keys: str) -> str | None:
    if value and not keys:
        raise ConfigurationError(f"{PREFIX}KMS_HOOK needs {PREFIX}ENCRYPTION_KEYS too, which the spool is sealed with")
    return value or None


def _file(value: str) -> Path | None:
    return Path(value).expanduser().absolute() if value else None


def _content(name: str, value: str) -> str:
    if not re.fullmatch(CONTENT_RULE, value):
        raise ConfigurationError(f"{PREFIX}{name}={value!r}: store, drop, mask or sample:PERCENT is expected")
    return value


def _choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ConfigurationError(f"{PREFIX}{name}={value!r}: one of {', '.join(choices)} is expected")
    return value


def _positive(name: str, value: str) -> int:
    if not value.isdecimal() or int(value) <= 0:
        raise ConfigurationError(f"{PREFIX}{name}={value!r}: a positive number of bytes is expected")
    return int(value)


def _count(name: str, value: str) -> int:
    if not value:
        return 0
    if not value.isdecimal() or not 1 <= int(value) <= MAX_WORKERS:
        raise ConfigurationError(f"{PREFIX}{name}={value!r}: a number from 1 to {MAX_WORKERS} is expected")
    return int(value)


def _minutes(name: str, value: str) -> int:
    # Use is noted once a minute: with less than some minutes those who are there would be sent away.
    if not value.isdecimal() or not (int(value) == 0 or 5 <= int(value) <= 720):
        raise ConfigurationError(f"{PREFIX}{name}={value!r}: 0 or a number of minutes from 5 to 720 is expected")
    return int(value)


def _bytes(name: str, value: str) -> int:
    if not value.isdecimal() or int(value) >= 2**63:
        unit = "spans" if "SPANS" in name else "bytes"
        raise ConfigurationError(f"{PREFIX}{name}={value!r}: a number of {unit} is expected")
    return int(value)


def _keys(name: str, value: str) -> tuple[tuple[str, bytes], ...]:
    """Return the keys by name, the first of which writes; no message shows a key."""
    found: dict[str, bytes] = {}
    for item in filter(None, (part.strip() for part in value.split(","))):
        kid, _, encoded = item.partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except ValueError:
            key = b""
        if not is_identifier(kid) or len(key) < MIN_KEY_BYTES:
            raise ConfigurationError(f"{PREFIX}{name}: kid:base64 of at least {MIN_KEY_BYTES} bytes is expected")
        if kid in found:
            raise ConfigurationError(f"{PREFIX}{name}: there are two keys {kid!r}")
        found[kid] = key
    return tuple(found.items())


def _networks(name: str, value: str) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(part.strip(), strict=False)) for part in value.split(",") if part.strip())
    except ValueError:
        raise ConfigurationError(f"{PREFIX}{name}={value!r}: addresses or networks are expected") from None


def _days(name: str, value: str) -> int:
    if not value.isdecimal() or int(value) > MAX_DAYS:
        raise ConfigurationError(f"{PREFIX}{name}={value!r}: a number of days is expected")
    return int(value)


def _days_or_none(name: str, value: str) -> int | None:
    return _days(name, value) if value else None


def is_identifier(value: str) -> bool:
    """Tell whether *value* may be the id of an organization, a workspace or a user."""
    if 0 < len(value) <= MAX_ID_BYTES and value.isascii() and value.isprintable():
        return True
    return 0 < len(value.encode(errors="surrogatepass")) <= MAX_ID_BYTES and not NO_IDENTIFIER.search(value)


def _identifier(name: str, value: str) -> str:
    if not is_identifier(value):
        raise ConfigurationError(f"{PREFIX}{name}={value!r}: at most 200 bytes without control characters are expected")
    return value
