"""A request that was accepted: what is kept of it on disk, and how are its rows made later?

What is kept says whose it is (organization, workspace and key id as the credential said when it came), when it came,
and what it carried, as it was sent. The credential is not kept. Where the operator drops content, what was sent is
not kept either, for prompts are in it, but the rows that it became.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, replace
from datetime import datetime

from otel_obs.errors import DecodeError, RequestTooLargeError
from otel_obs.model import Decoded
from otel_obs.otlp.decode import decode_logs, decode_traces
from otel_obs.otlp.decode_json import decode_logs_json, decode_traces_json
from otel_obs.pipeline import recorded
from otel_obs.pipeline.ingest import Mapping, Received, receive, under_rules
from otel_obs.pipeline.segment import Record
from otel_obs.rows.batch import Quarantined
from otel_obs.tenancy import Sender, TenantDefaults

PROTOBUF, JSON, ROWS = "protobuf", "json", "rows"
_DECODERS: MappingOf[tuple[str, str], Callable[[bytes], Decoded]] = {
    ("traces", PROTOBUF): decode_traces,
    ("traces", JSON): decode_traces_json,
    ("logs", PROTOBUF): decode_logs,
    ("logs", JSON): decode_logs_json,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """One request."""

    signal: str
    """``traces`` or ``logs``."""
    encoding: str
    """``protobuf`` or ``json`` as it was sent; ``rows`` for what it became."""
    body: bytes
    sender: Sender
    defaults: TenantDefaults
    """Where its spans go that name nobody: what held when it came."""
    received_at: datetime
    records: int
    """How many spans and log records it carries."""

    def record(self) -> Record:
        """Return it as it lies on disk."""
        header: dict[str, str | int | None] = {
            "v": 1,
            "signal": self.signal,
            "encoding": self.encoding,
            "organization": self.sender.organization_id,
            "workspace": self.sender.workspace_id,
            "bound_workspace": self.sender.bound_workspace_id,
            "key": self.sender.key_id,
            "default_organization": self.defaults.organization_id,
            "default_workspace": self.defaults.workspace_id,
            "received_at": self.received_at.isoformat(),
            "records": self.records,
        }
        return Record(header, self.body)

    def received(self, mapping: Mapping) -> Received:
        """Return its rows; where it cannot be read after all, it goes to quarantine whole."""
        try:
            if self.encoding == ROWS:
                return under_rules(recorded.from_bytes(self.body), mapping)
            decoded = _DECODERS[self.signal, self.encoding](self.body)
            return receive(decoded, self.sender, self.received_at, replace(mapping, defaults=self.defaults))
        except (DecodeError, RequestTooLargeError):
            return self._refused("not_decodable", "", mapping)
        except Exception as error:  # noqa: BLE001  # whatever it is, what waits behind it must go on
            return self._refused("not_readable", type(error).__name__, mapping)

    def _refused(self, reason: str, detail: str, mapping: Mapping) -> Received:
        keeps = mapping.policy.keeps_as_sent and mapping.rules().anywhere_in(self.sender.organization_id).keeps_all
        item = Quarantined(
            organization_id=self.sender.organization_id or self.defaults.organization_id,
            workspace_id=self.sender.bound_workspace_id or self.sender.workspace_id or self.defaults.workspace_id,
            received_at=self.received_at,
            signal=self.signal,
            reason=reason,
            detail=detail,
            payload=self.body if keeps else b"",
            format=f"request/{self.encoding}" if keeps else "",
        )
        return Received(quarantined=[item])


def accepted_of(record: Record) -> Accepted:
    """Return what ``Accepted.record`` was made of.

    Raises:
        ValueError, KeyError, TypeError: it is from a program that keeps requests in another way.
    """
    header = record.header
    return Accepted(
        signal=str(header["signal"]),
        encoding=str(header["encoding"]),
        body=record.body,
        sender=Sender(
            organization_id=_text(header["organization"]),
            workspace_id=_text(header["workspace"]),
            bound_workspace_id=_text(header["bound_workspace"]),
            key_id=_text(header["key"]),
        ),
        defaults=TenantDefaults(
            organization_id=str(header["default_organization"]), workspace_id=str(header["default_workspace"])
        ),
        received_at=datetime.fromisoformat(str(header["received_at"])),
        records=int(header["records"] or 0),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
