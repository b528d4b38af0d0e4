"""Encrypted connections: who gets in, who does not, and certificates that change while the server runs."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import grpc
import pytest
import trustme
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from otel_obs.errors import ConfigurationError
from otel_obs.server import Gateway, Listening
from otel_obs.settings import Settings
from otel_obs.web.server import ApiServer
from tests.command import PORTS, Running, run
from tests.fix_postgres import short_folder

LISTENERS = ("grpc", "http", "api")


@dataclass(frozen=True)
class Files:
    """A certificate, its key, and the authorities of the other side."""

    chain: Path
    key: Path
    authorities: Path

    def write(self, issued: trustme.LeafCert, authorities: trustme.CA) -> None:
        """Replace the files, each at once, the key first: for a moment they do not fit."""
        contents = (
            (self.key, issued.private_key_pem.bytes()),
            (self.chain, b"".join(part.bytes() for part in issued.cert_chain_pems)),
            (self.authorities, authorities.cert_pem.bytes()),
        )
        for path, content in contents:
            half = path.with_suffix(".half")
            half.write_bytes(content)
            half.replace(path)


def files(folder: Path, issued: trustme.LeafCert, authorities: trustme.CA) -> Files:
    folder.mkdir()
    made = Files(folder / "chain.pem", folder / "key.pem", folder / "ca.pem")
    made.write(issued, authorities)
    return made


@pytest.fixture(scope="module")
def servers() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def clients() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def served(tmp_path: Path, servers: trustme.CA, clients: trustme.CA) -> Files:
    return files(tmp_path / "server", servers.issue_cert("localhost", "127.0.0.1"), clients)


@pytest.fixture
def listening(database: str, served: Files, tmp_path: Path) -> Iterator[Listening]:
    settings = Settings.from_env(
        {},
        {
            **{f"{name}_ENDPOINT": "localhost:0" for name in ("GRPC", "HTTP", "API")},
            "DATA_DIR": str(tmp_path / "data"),
            "TLS_CERT_FILE": str(served.chain), "TLS_KEY_FILE": str(served.key),
            "TLS_CLIENT_CA_FILE": str(served.authorities),
        },
    )  # fmt: skip
    gateway, api = Gateway(settings, database), ApiServer(settings, database)
    try:
        found = gateway.start()
        yield Listening(found.grpc, found.http, api.start())
    finally:
        api.stop()
        gateway.stop()


def is_served(listening: Listening, name: str, client: Files | None, trusts: Path | bytes) -> bool:
    """Tell whether a client with these certificates gets an answer."""
    authorities = trusts if isinstance(trusts, bytes) else trusts.read_bytes()
    address = getattr(listening, name)
    if name == "grpc":
        credentials = grpc.ssl_channel_credentials(
            authorities, client.key.read_bytes() if client else None, client.chain.read_bytes() if client else None
        )
        with grpc.secure_channel(address, credentials, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            try:
                stub = TraceServiceStub(channel)  # type: ignore[no-untyped-call]
                stub.Export(ExportTraceServiceRequest(), timeout=10)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.UNAVAILABLE:
                    return False
                raise
            return True
    context = ssl.create_default_context(cadata=authorities.decode())
    if client is not None:
        context.load_cert_chain(client.chain, client.key)
    return answer_of(address, context) == 200


def answer_of(address: str, context: ssl.SSLContext) -> int | None:
    connection = http.client.HTTPSConnection(address, context=context, timeout=10)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    except (ssl.SSLError, ConnectionError):
        return None
    finally:
        connection.close()


@pytest.mark.parametrize("name", LISTENERS)
def test_only_clients_with_a_certificate_of_the_right_authority_get_in(
    name: str, listening: Listening, servers: trustme.CA, clients: trustme.CA, tmp_path: Path
) -> None:
    trusted = servers.cert_pem.bytes()
    long_ago = datetime.now(tz=timezone.utc) - timedelta(days=1)
    good, expired, stranger = (
        files(tmp_path / who, issued, servers)
        for who, issued in (
            ("good", clients.issue_cert("client@acme.example")),
            ("expired", clients.issue_cert("client@acme.example", not_after=long_ago)),
            ("stranger", trustme.CA().issue_cert("client@acme.example")),
        )
    )

    assert is_served(listening, name, good, trusted)
    assert not is_served(listening, name, None, trusted)
    assert not is_served(listening, name, expired, trusted)
    assert not is_served(listening, name, stranger, trusted)
    assert not is_served(listening, name, good, clients.cert_pem.bytes())


@pytest.mark.parametrize("name", LISTENERS)
def test_certificates_and_authorities_are_those_of_the_files_now(
    name: str, listening: Listening, served: Files, servers: trustme.CA, clients: trustme.CA, tmp_path: Path
) -> None:
    old = files(tmp_path / "old", clients.issue_cert("client@acme.example"), servers)
    later, later_clients = trustme.CA(), trustme.CA()
    new = files(tmp_path / "new", later_clients.issue_cert("client@acme.example"), later)
    assert is_served(listening, name, old, old.authorities)

    key = served.key.read_bytes()
    served.key.write_bytes(key[:100])
    assert is_served(listening, name, old, old.authorities)

    served.write(later.issue_cert("localhost", "127.0.0.1"), later_clients)
    assert is_served(listening, name, new, new.authorities)
    assert not is_served(listening, name, new, old.authorities)
    assert not is_served(listening, name, old, new.authorities)


@pytest.mark.filterwarnings("ignore:.*TLSVersion.*is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", LISTENERS)
def test_plain_text_and_old_versions_are_not_spoken(
    name: str, listening: Listening, servers: trustme.CA, clients: trustme.CA
) -> None:
    host, _, port = getattr(listening, name).rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            said = plain.recv(1000)
        except ConnectionError:
            said = b""
        assert b"HTTP/1.1" not in said

    def version(most: ssl.TLSVersion) -> str | None:
        context = ssl.create_default_context(cadata=servers.cert_pem.bytes().decode())
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, most
        clients.issue_cert("client@acme.example").configure_cert(context)
        try:
            with (
                socket.create_connection((host, int(port)), timeout=10) as raw,
                context.wrap_socket(raw, server_hostname="localhost") as wrapped,
            ):
                return wrapped.version()
        except (ssl.SSLError, ConnectionError):
            return None

    assert version(ssl.TLSVersion.TLSv1_1) is None
    assert version(ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    assert version(ssl.TLSVersion.TLSv1_3) == "TLSv1.3"


def test_workers_and_maintenance_encrypt_as_well(database: str, served: Files, servers: trustme.CA) -> None:
    trusted = ssl.create_default_context(cadata=servers.cert_pem.bytes().decode())
    tls = {"OTEL_OBS_TLS_CERT_FILE": str(served.chain), "OTEL_OBS_TLS_KEY_FILE": str(served.key)}
    of = ("--database-url", database)
    with short_folder() as folder:
        started = [
            Running("gateway", "--data-dir", str(folder), *of, *PORTS, OTEL_OBS_WORKERS="2", **tls),
            Running("maintain", *of, OTEL_OBS_API_ENDPOINT="127.0.0.1:0", **tls),
        ]  # fmt: skip
        try:
            told = [running.ready() for running in started]
            addresses = [json.loads((folder / "run.json").read_text())["http"], told[1].partition("api=")[2].strip()]

            assert [answer_of(address, trusted) for address in addresses] == [200, 200]
        finally:
            stopped = [running.stop() for running in started]
        assert [code for code, _ in stopped] == [0, 0]


def test_an_address_that_others_can_reach_may_be_listened_on_with_a_certificate(database: str, served: Files) -> None:
    settings = {"TLS_CERT_FILE": str(served.chain), "TLS_KEY_FILE": str(served.key), "HTTP_ENDPOINT": "0.0.0.0:0"}

    Settings.from_env({}, settings).check_listener("0.0.0.0:0")

    with pytest.raises(ConfigurationError, match="OTEL_OBS_AUTH=off"):
        Settings.from_env({}, {**settings, "AUTH": "off"}).check_listener("0.0.0.0:0")
    shutil.copy(served.authorities, served.chain)
    done = run("gateway", *PORTS, "--database-url", database, **{f"OTEL_OBS_{k}": v for k, v in settings.items()})
    assert done.returncode == 2
    assert str(served.chain) in done.stderr


@pytest.mark.parametrize(
    "names", [["TLS_CERT_FILE"], ["TLS_KEY_FILE"], ["TLS_CLIENT_CA_FILE"], ["TLS_CERT_FILE", "TLS_CLIENT_CA_FILE"]]
)
def test_half_of_a_certificate_is_a_slip_of_the_pen(names: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="OTEL_OBS_TLS_KEY_FILE"):
        Settings.from_env({}, dict.fromkeys(names, "/somewhere.pem"))
