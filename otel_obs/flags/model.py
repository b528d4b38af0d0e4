"""What is a flag, and what does asking for one give?

Words are those of OpenFeature (https://openfeature.dev/specification/glossary): flag, variant, reason, targeting key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

ON, OFF = "on", "off"
"""Variants of a flag that names none; ``off`` is what any flag serves while it is off."""
BOOLEAN: Mapping[str, Any] = {ON: True, OFF: False}
BUCKETS = 100_000
"""Users fall into so many buckets: shares are counted in thousandths of a percent."""

Reason = Literal["STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED", "DEFAULT", "ERROR"]
Scope = Literal["user", "workspace", "organization", "global", "default"]
ErrorCode = Literal["FLAG_NOT_FOUND", "TARGETING_KEY_MISSING", "PARSE_ERROR", "GENERAL"]


class MalformedFlagError(ValueError):
    """A part of a flag cannot be read; the message says which, and what is expected."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Who asks."""

    organization_id: str | None = None
    workspace_id: str | None = None
    user_id: str | None = None
    """Also the targeting key: users of one id get the same share for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A flag in one scope: a row of ``feature_flags``."""

    flag_name: str
    is_enabled: bool
    organization_id: str | None = None
    workspace_id: str | None = None
    user_id: str | None = None
    variants: Mapping[str, Any] | None = None
    """Values by name, all of one type; None: as in the wider scope, else on and off."""
    shares: tuple[tuple[str, int], ...] | None = None
    """Variant and how many of 100,000 buckets get it, by name; None: everyone."""
    prerequisites: tuple[str, ...] | None = None
    """Flags that must be on; None: as in the wider scope."""
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    killed: bool = False
    description: str | None = None
    owner: str | None = None
    version: int = 1
    updated_at: datetime | None = None
    malformed: str | None = None
    """What of the row cannot be read; asking for it then is an error."""

    @property
    def scope(self) -> Scope:
        """Return for whom it is set."""
        if self.user_id is not None:
            return "user"
        if self.workspace_id is not None:
            return "workspace"
        return "global" if self.organization_id is None else "organization"

    @property
    def key(self) -> tuple[str | None, str | None, str | None]:
        """Return the scope's ids."""
        return (self.organization_id, self.workspace_id, self.user_id)

    @property
    def rollout(self) -> dict[str, int | float] | None:
        """Return the shares in percent."""
        return None if self.shares is None else {name: percent(share) for name, share in self.shares}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """An answer."""

    flag_name: str
    is_enabled: bool
    value: Any
    """None where the caller's default holds."""
    variant: str | None
    reason: Reason
    scope: Scope
    """The scope whose row decided."""
    version: int | None
    """Version of that row."""
    error_code: ErrorCode | None = None
    message: str | None = None
    owner: str | None = None


def percent(share: int) -> int | float:
    """Return a share of the buckets in percent."""
    return share // 1000 if share % 1000 == 0 else share / 1000


def row_of(columns: Sequence[Any]) -> Flag:
    """Return the flag that a row of ``feature_flags`` says; what cannot be read of it is told in ``malformed``."""
    name, is_enabled, organization_id, workspace_id, user_id, variants, rollout, prerequisites, *rest = columns
    starts_at, expires_at, killed, description, owner, version, updated_at = rest
    read: dict[str, Any] = {}
    malformed: str | None = None
    try:
        read = {
            "variants": variants_of(variants),
            "shares": shares_of(rollout),
            "prerequisites": prerequisites_of(prerequisites),
        }
    except MalformedFlagError as error:
        malformed = str(error)
    return Flag(
        flag_name=name,
        is_enabled=is_enabled,
        organization_id=organization_id,
        workspace_id=workspace_id,
        user_id=user_id,
        starts_at=starts_at,
        expires_at=expires_at,
        killed=killed,
        description=description,
        owner=owner,
        version=version,
        updated_at=updated_at,
        malformed=malformed,
        **read,
    )


def variants_of(value: object) -> Mapping[str, Any] | None:
    """Return the variants that *value* says.

    Raises:
        MalformedFlagError: it is no object, is empty, or its values are of several types.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping) or not value or not all(value):
        raise MalformedFlagError('variants: an object of named values is expected, such as {"red": "#f00"}')
    kinds = {kind_of(item) for item in value.values()}
    if len(kinds) > 1 or kinds == {"null"}:
        raise MalformedFlagError(f"variants: values of one type are expected, not {' and '.join(sorted(kinds))}")
    return dict(value)


def shares_of(value: object) -> tuple[tuple[str, int], ...] | None:
    """Return the buckets of each variant, by its percent.

    Raises:
        MalformedFlagError: it is no object of percentages, or they are more than 100 together.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping) or not value or not all(isinstance(name, str) and name for name in value):
        raise MalformedFlagError('rollout: percentages by variant are expected, such as {"on": 25}')
    shares = tuple(sorted((name, share_of(part)) for name, part in value.items()))
    if sum(share for _, share in shares) > BUCKETS:
        raise MalformedFlagError("rollout: more than 100 percent")
    return shares


def share_of(value: object) -> int:
    """Return how many buckets *value* percent are.

    Raises:
        MalformedFlagError: it is no number from 0 to 100 with at most three decimals.
    """
    try:
        buckets = Decimal("NaN" if isinstance(value, bool) else str(value)) * (BUCKETS // 100)
    except InvalidOperation:
        buckets = Decimal("NaN")
    if not (buckets.is_finite() and 0 <= buckets <= BUCKETS and buckets == int(buckets)):
        raise MalformedFlagError(f"rollout: {value!r} is no percentage from 0 to 100 with at most three decimals")
    return int(buckets)


def prerequisites_of(value: object) -> tuple[str, ...] | None:
    """Return the names that *value* lists.

    Raises:
        MalformedFlagError: it is no array of names.
    """
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) and name for name in value):
        raise MalformedFlagError("prerequisites: an array of flag names is expected")
    return tuple(dict.fromkeys(value))


def kind_of(value: object) -> str:
    """Return the type of *value* in JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, Mapping) else "array"
