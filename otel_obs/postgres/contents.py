"""Which values of rows are content, and what do they look like sealed, and opened again?"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg

from otel_obs.postgres.vault import Keys, Vault
from otel_obs.rows import AgentRunRow, CallRow, CheckRow, ContentRow
from otel_obs.rows.batch import Batch, Quarantined
from otel_obs.sealing import SealedError, blinded, is_blinded, place_of

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


def place_of_value(organization_id: str, table: str, column: str, timestamp: datetime, *key: str) -> bytes:
    """Return where a value is: *key* is what else names its row in the table."""
    return place_of(organization_id, table, column, str((timestamp - _EPOCH) // _MICROSECOND), *key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of content."""

    table: str
    name: str
    """Its name where it rests readable; that of what is sealed ends in ``_encrypted``."""
    key: tuple[str, ...]
    """What names a row, beside the organization."""
    time: str = "timestamp"
    bound: tuple[str, ...] = ("trace_id", "event_id")
    """Columns that the value is bound to, beside the organization and the time."""
    digest: str | None = None
    """The hash of the content that is blinded with it."""

    def place(self, organization_id: str, row: Mapping[str, Any]) -> bytes:
        """Return where the value of *row* is."""
        bound = (str(row[name]) for name in self.bound)
        return place_of_value(organization_id, self.table, self.name, row[self.time], *bound)


_KEY = ("trace_id", "event_id", "timestamp")
COLUMNS = (
    Column(
        table="span_contents",
        name="body",
        key=("trace_id", "event_id", "part", "timestamp"),
        bound=("trace_id", "event_id", "part"),
        digest="sha256",
    ),
    Column(table="agent_trace_history", name="input_context", key=_KEY),
    Column(table="agent_trace_history", name="output_summary", key=_KEY),
    Column(table="prompt_similarity_logs", name="flagged_reference", key=_KEY),
    Column(
        table="quarantine",
        name="payload",
        key=("id",),
        time="received_at",
        bound=("signal", "reason", "sha256"),
        digest="sha256",
    ),
)


def organizations_of(batch: Batch) -> set[str]:
    """Return whose content *batch* holds."""
    return {row.organization_id for rows in (batch.events, batch.quarantined) for row in rows}


def sealed(batch: Batch, keys: Mapping[str, Keys]) -> tuple[Batch, Mapping[tuple[str, str], int]]:
    """Return *batch* with its content sealed, and how much was sealed by (organization, key name)."""
    runs = [sealed_run(row, keys[row.organization_id]) for row in batch.runs]
    checks = [_sealed_check(row, keys[row.organization_id]) for row in batch.checks]
    contents = [_sealed_content(row, keys[row.organization_id]) for row in batch.contents]
    quarantined = [_sealed_payload(item, keys[item.organization_id]) for item in batch.quarantined]
    counts = Counter(row.organization_id for row in contents)
    for rows in (runs, runs, checks, quarantined):
        counts.update(row.organization_id for row in rows)
    return (
        replace(
            batch,
            calls=[blinded_call(row, keys[row.organization_id].index) for row in batch.calls],
            reports={
                key: report._replace(row=blinded_call(report.row, keys[report.row.organization_id].index))
                for key, report in batch.reports.items()
            },
            runs=runs,
            checks=checks,
            contents=contents,
            quarantined=quarantined,
        ),
        {(name, keys[name].content.name): number for name, number in counts.items()},
    )


def blinded_call(row: CallRow, index: bytes) -> CallRow:
    """Return *row* with hashes of its prompt that nobody else can make."""
    if row.prompt_hash is None and row.prefix_hashes is None:
        return row
    return row._replace(
        prompt_hash=blinded_hash(row.prompt_hash, index), prefix_hashes=blinded_hashes(row.prefix_hashes, index)
    )


def blinded_hash(digest: str | None, index: bytes) -> str | None:
    """Return *digest* blinded; one that is stays as it is."""
    return digest if digest is None or is_blinded(digest) else blinded(index, digest)


def blinded_hashes(digests: Sequence[str] | None, index: bytes) -> list[str] | None:
    """Return *digests* blinded; those that are stay as they are."""
    return None if digests is None else [digest if is_blinded(digest) else blinded(index, digest) for digest in digests]


def sealed_run(row: AgentRunRow, keys: Keys) -> AgentRunRow:
    """Return *row* with what the agent was told and answered sealed."""
    table, of_row = "agent_trace_history", (row.timestamp, row.trace_id, row.event_id)
    if row.input_context is not None:
        told = json.dumps(row.input_context, ensure_ascii=False).encode(errors="replace")
        where = place_of_value(row.organization_id, table, "input_context", *of_row)
        row = row._replace(input_context=None, input_context_encrypted=keys.content.seal(told, where))
    if row.output_summary is not None:
        where = place_of_value(row.organization_id, table, "output_summary", *of_row)
        answered = row.output_summary.encode(errors="replace")
        row = row._replace(output_summary=None, output_summary_encrypted=keys.content.seal(answered, where))
    return row


def _sealed_check(row: CheckRow, keys: Keys) -> CheckRow:
    if row.flagged_reference is None:
        return row
    table = "prompt_similarity_logs"
    where = place_of_value(row.organization_id, table, "flagged_reference", row.timestamp, row.trace_id, row.event_id)
    found = keys.content.seal(row.flagged_reference.encode(errors="replace"), where)
    return row._replace(flagged_reference=None, flagged_reference_encrypted=found)


def _sealed_content(row: ContentRow, keys: Keys) -> ContentRow:
    if row.body is None:
        return row
    return row._replace(
        body=None,
        body_encrypted=keys.content.seal(row.body.encode(errors="replace"), place_of_content(row)),
        sha256=blinded(keys.index, row.sha256),
    )


def place_of_content(row: ContentRow) -> bytes:
    """Return where the body of *row* is."""
    key = (row.trace_id, row.event_id, row.part)
    return place_of_value(row.organization_id, "span_contents", "body", row.timestamp, *key)


def _sealed_payload(item: Quarantined, keys: Keys) -> Quarantined:
    digest = blinded(keys.index, hashed(item))
    if not item.payload:
        return replace(item, sha256=digest)
    where = place_of_payload(replace(item, sha256=digest))
    return replace(item, payload=b"", payload_encrypted=keys.content.seal(item.payload, where), sha256=digest)


def hashed(item: Quarantined) -> str:
    """Return the hash of the payload of *item*."""
    return item.sha256 or hashlib.sha256(item.payload).hexdigest()


def place_of_payload(item: Quarantined) -> bytes:
    """Return where the payload of *item* is; entries have their number from the database, so their hash names them."""
    key = (item.signal, item.reason, hashed(item))
    return place_of_value(item.organization_id, "quarantine", "payload", item.received_at, *key)


def opened_contents(
    connection: psycopg.Connection, rows: Iterable[ContentRow], vault: Vault | None
) -> list[ContentRow]:
    """Return *rows* with their bodies, as far as they can be opened here."""
    return [_opened_content(connection, row, vault) for row in rows]


def _opened_content(connection: psycopg.Connection, row: ContentRow, vault: Vault | None) -> ContentRow:
    if row.body_encrypted is None or vault is None:
        return row
    try:
        body = vault.opened(connection, row.organization_id, bytes(row.body_encrypted), place_of_content(row))
    except SealedError:
        return row
    return row._replace(body=body.decode(errors="replace"))
