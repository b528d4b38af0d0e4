"""A message to an address that an administrator set: signed, without following anything, within seconds.

Messages are those of https://www.standardwebhooks.com, so that receivers verify them with a library. The address is
resolved once, looked at, and that address is connected to: a name that points elsewhere a moment later gains nothing.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

import tenacity
import urllib3
from standardwebhooks.webhooks import Webhook

from otel_obs.errors import ConfigurationError, WebhookError, WebhookRefusedError

CONNECT_TIMEOUT_S = 3.0
TIMEOUT_S = 8.0
"""From the first byte sent to the status line."""
ATTEMPTS = 3
"""At one go; who is down for longer is tried again by the next rounds."""


def check_url(url: str, *, private: bool) -> None:
    """See to it that *url* may be called; names are looked up when it is.

    Raises:
        ConfigurationError: it may not: the message says why.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigurationError("webhook: that is no address") from None
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0 or not url.isascii():
        raise ConfigurationError("webhook: an address such as https://example.com/hook is expected")
    if len(url) > 2000 or any(ord(character) <= 32 or ord(character) == 127 for character in url):
        raise ConfigurationError("webhook: at most 2,000 characters without spaces are expected")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError("webhook: leave user and password out, messages are signed")
    if not private:
        if parts.scheme != "https":
            raise ConfigurationError("webhook: https is expected (OTEL_OBS_WEBHOOK_PRIVATE=on allows http)")
        try:
            literal = ipaddress.ip_address(parts.hostname)
        except ValueError:
            return
        _check_address(literal)


def _check_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    mapped = getattr(address, "ipv4_mapped", None) or address
    if not mapped.is_global or mapped.is_multicast:
        raise ConfigurationError(
            "webhook: the address is inside a private network (OTEL_OBS_WEBHOOK_PRIVATE=on allows that)"
        )


def post(url: str, secret: str, message_id: str, message: Mapping[str, Any], *, private: bool) -> None:
    """Post *message*; return once the receiver has accepted it (2xx).

    Raises:
        WebhookRefusedError: it will not accept it, or the address may not be called.
        WebhookError: it may later.
    """
    try:
        check_url(url, private=private)
    except ConfigurationError as error:
        raise WebhookRefusedError(str(error)) from None
    body = json.dumps(message, separators=(",", ":"))
    _patiently(_once, url, secret, message_id, body, private=private)


def _once(url: str, secret: str, message_id: str, body: str, *, private: bool) -> None:
    parts = urlsplit(url)
    host = str(parts.hostname)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    now = datetime.now(tz=timezone.utc)
    headers = {
        "host": parts.netloc,
        "content-type": "application/json",
        "user-agent": "otel-obs",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, now, body),
    }
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with _connection_to(parts.scheme, host, _address_of(host, port, private=private), port) as connection:
        try:
            answer = connection.request(
                "POST", path, body=body.encode(), headers=headers, redirect=False, retries=False, preload_content=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise WebhookError(f"{type(error).__name__}") from error
        status = answer.status
        # What it says is not read: nobody would look at it, and it may have no end.
        answer.close()
    if 200 <= status < 300:
        return
    if status in (408, 409, 425, 429) or status >= 500:
        raise WebhookError(f"the receiver answers {status}")
    raise WebhookRefusedError(f"the receiver answers {status}")


def _address_of(host: str, port: int, *, private: bool) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise WebhookError("the name cannot be looked up") from error
    addresses = [str(item[4][0]) for item in found]
    if not private:
        try:
            for address in addresses:
                _check_address(ipaddress.ip_address(address.partition("%")[0]))
        except ConfigurationError as error:
            raise WebhookRefusedError(str(error)) from None
    return addresses[0]


def _connection_to(scheme: str, host: str, address: str, port: int) -> urllib3.HTTPConnectionPool:
    """Return a connection to *address* whose certificate must be that of *host*; proxies are not asked."""
    timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=TIMEOUT_S, total=TIMEOUT_S)
    if scheme == "http":
        return urllib3.HTTPConnectionPool(address, port, timeout=timeout, maxsize=1)
    return urllib3.HTTPSConnectionPool(
        address, port, timeout=timeout, maxsize=1, cert_reqs="CERT_REQUIRED", assert_hostname=host, server_hostname=host
    )


_patiently = tenacity.Retrying(
    retry=tenacity.retry_if_exception(lambda error: isinstance(error, WebhookError)),
    stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_after_delay(TIMEOUT_S),
    wait=tenacity.wait_random_exponential(multiplier=0.2, max=2.0),
    reraise=True,
)
