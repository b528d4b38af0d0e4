"""Whose span is it? Organization and workspace, and who may say so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from otel_obs.frozen import dataclass
from otel_obs.model import Attributes
from otel_obs.semconv import ORGANIZATION_ID, WORKSPACE_ID
from otel_obs.settings import Settings, is_identifier

DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who sent a request, as its credential and headers say."""

    organization_id: str | None = None
    """The credential's; None with authentication off."""
    workspace_id: str | None = None
    """The workspace of the header ``x-otel-obs-workspace``."""
    bound_workspace_id: str | None = None
    """The only workspace that the credential may write to; None where it may write to any."""
    key_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantDefaults:
    """Where spans go that name nobody."""

    organization_id: str = DEFAULT
    workspace_id: str = DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Whose span it is."""

    organization_id: str
    workspace_id: str
    workspace_known: bool = True
    """False where nobody named the workspace: one named by a span above then holds."""
    organization_ignored: bool = False
    """True where the span names another organization than its credential's, which holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much an organization may send; None leaves it to who is asked next, 0 is no limit."""

    max_spans_per_second: int | None = None
    """Spans and log records, to one gateway."""
    max_bytes_per_second: int | None = None
    """Of decompressed requests, to one gateway."""
    max_bytes_per_day: int | None = None
    """Of rows that are accepted in a day (UTC), by all gateways."""
    max_stored_bytes: int | None = None
    """Of rows that its plan still keeps."""

    def over(self, others: Limits) -> Limits:
        """Return these limits, and those of *others* that these leave open."""
        own = self.as_json()
        return Limits(**{name: theirs if own[name] is None else own[name] for name, theirs in others.as_json().items()})

    def as_json(self) -> dict[str, int | None]:
        """Return them by name."""
        return asdict(self)


def limits_of(settings: Settings) -> Limits:
    """Return the limits of who has none of his own."""
    return Limits(
        max_spans_per_second=settings.max_spans_per_second,
        max_bytes_per_second=settings.max_bytes_per_second,
        max_bytes_per_day=settings.max_bytes_per_day,
        max_stored_bytes=settings.max_stored_bytes,
    )


class TenantRefusedError(ValueError):
    """The span names a tenant that its sender may not write to."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def tenant_of(attributes: Attributes, resource: Attributes, sender: Sender, defaults: TenantDefaults) -> Tenant:
    """Return whose span it is.

    The organization is the credential's; without one the span's, the resource's, the default. The
    workspace is the one that the credential is bound to; else the span's, the resource's, the header's.

    Raises:
        TenantRefusedError: the span names another workspace than its credential is bound to.
    """
    organization = sender.organization_id or _named(ORGANIZATION_ID, (attributes, resource))
    workspace = _named(WORKSPACE_ID, (attributes, resource))
    if sender.bound_workspace_id is not None:
        if workspace not in (None, sender.bound_workspace_id):
            raise TenantRefusedError("workspace_not_allowed")
        workspace = sender.bound_workspace_id
    workspace = workspace or sender.workspace_id
    return Tenant(
        organization_id=organization or defaults.organization_id,
        workspace_id=workspace or defaults.workspace_id,
        workspace_known=workspace is not None,
        organization_ignored=sender.organization_id is not None and _names_another(sender, attributes, resource),
    )


def _names_another(sender: Sender, attributes: Attributes, resource: Attributes) -> bool:
    named = attributes.get(ORGANIZATION_ID) or resource.get(ORGANIZATION_ID)
    return bool(named) and named != sender.organization_id


def _named(name: str, places: Iterable[Attributes]) -> str | None:
    for attributes in places:
        value = attributes.get(name)
        if isinstance(value, str) and value:
            if not is_identifier(value):
                raise TenantRefusedError("tenant_id_malformed")
            return value
    return None
