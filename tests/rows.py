"""From spans to batches, with the real dialects and a price of one cent a token."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

from otel_obs.dialects.reading import read, read_log
from otel_obs.model import Call, Cost, Decoded, LogRecord, Span
from otel_obs.pipeline.batching import batch_of
from otel_obs.pipeline.ingest import Mapping, receive, reprice
from otel_obs.pipeline.stored import settling
from otel_obs.rows.batch import Batch
from otel_obs.rows.build import timestamp_of
from otel_obs.tenancy import Sender
from tests.builders import START_NS

RECEIVED_AT = timestamp_of(START_NS) + timedelta(days=6)


def price(call: Call, at: datetime, organization_id: str) -> Cost:
    """Return a cent for each token."""
    del at, organization_id
    if not call.usage.known:
        return Cost(reason="no_usage")
    tokens = (call.usage.input_tokens or 0) + (call.usage.output_tokens or 0)
    return Cost(cents=Decimal(tokens), rate_per_1k=Decimal(1000), source="computed", price_id="test")


MAPPING = Mapping(read=read, read_log=read_log, price=price)
SETTLING = settling(partial(reprice, price=price))


def batch(spans: Sequence[Span] = (), logs: Sequence[LogRecord] = (), *, organization: str | None = None) -> Batch:
    """Return the batch of one request."""
    sender = Sender(organization_id=organization)
    return batch_of([receive(Decoded(spans=spans, logs=logs), sender, RECEIVED_AT, MAPPING)], price)
