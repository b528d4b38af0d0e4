"""The mapping in force: all dialects, today's prices, and what the operator decided."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from otel_obs.dialects.reading import is_mere, read, read_log
from otel_obs.model import Call, Content, Cost
from otel_obs.pipeline.hook import hook_named
from otel_obs.pipeline.ingest import Mapping, Price
from otel_obs.pricing import estimate
from otel_obs.pricing.catalog import Catalog
from otel_obs.pricing.price import price
from otel_obs.rows.meaning import ContentPolicy
from otel_obs.rows.policy import Rules, rule_of
from otel_obs.rows.redaction import Redaction
from otel_obs.settings import Settings
from otel_obs.tenancy import TenantDefaults


def mapping_of(settings: Settings, prices: Catalog, rules: Callable[[], Rules] | None = None) -> Mapping:
    """Return how spans become rows under *settings*, at *prices*; *rules* tells what tenants have decided."""
    base = Rules(base=rule_of(settings.content))
    return Mapping(
        read=read,
        read_log=read_log,
        is_mere=is_mere,
        price=price_by(prices),
        defaults=TenantDefaults(organization_id=settings.organization_id, workspace_id=settings.workspace_id),
        policy=ContentPolicy(
            store=settings.content != "drop",
            max_bytes=settings.max_content_bytes,
            redact=Redaction(settings.redact) if settings.redact else None,
            hook=None if settings.redact_hook is None else hook_named(settings.redact_hook),
        ),
        rules=rules or (lambda: base),
        estimate=_estimator() if settings.estimate_tokens else None,
        genai_only=settings.spans == "genai",
    )


def _estimator() -> Callable[[Call, Iterable[Content]], tuple[int | None, int | None] | None]:
    estimate.ready()
    return estimate.estimate


def price_by(prices: Catalog) -> Price:
    """Return how a call is priced at *prices*."""

    def priced(call: Call, at: datetime, organization_id: str) -> Cost:
        return price(call, at, prices, organization_id)

    return priced
