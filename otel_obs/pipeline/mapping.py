"""The mapping in force: all dialects, today's prices, and what the operator decided."""

from __future__ import annotations

from datetime import datetime

from otel_obs.dialects.reading import read, read_log
from otel_obs.model import Call, Cost
from otel_obs.pipeline.ingest import Mapping
from otel_obs.pricing.catalog import default_catalog
from otel_obs.pricing.price import price
from otel_obs.rows.build import ContentPolicy
from otel_obs.settings import Settings
from otel_obs.tenancy import TenantDefaults


def mapping_of(settings: Settings) -> Mapping:
    """Return how spans become rows under *settings*."""
    return Mapping(
        read=read,
        read_log=read_log,
        price=price_by_default_catalog,
        defaults=TenantDefaults(organization_id=settings.organization_id, workspace_id=settings.workspace_id),
        policy=ContentPolicy(store=settings.content == "store", max_bytes=settings.max_content_bytes),
        genai_only=settings.spans == "genai",
    )


def price_by_default_catalog(call: Call, at: datetime, organization_id: str) -> Cost:
    """Return what *call* costs by the catalog of this process."""
    return price(call, at, default_catalog(), organization_id)
