"""Is it on, for whom, and which variant?  Pure: flags, a subject and a moment in, an answer out.

The narrowest scope decides: user, then workspace, organization, everyone. A kill switch decides over all scopes
inside its own. What a row does not say about variants and prerequisites is as in the wider scope.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from otel_obs.flags.model import BOOLEAN, BUCKETS, OFF, ON, ErrorCode, Evaluation, Flag, Reason, Subject

MAX_DEPTH = 32
"""Prerequisites of prerequisites are followed so far."""


def bucket(flag_name: str, targeting_key: str) -> int:
    """Return in which of the 100,000 buckets of a flag a user is: the same one always and everywhere.

    The first 32 bits of a SHA-256, which PostgreSQL computes as well; the flag's name is in it, so that not the same
    users are first with every flag. Names hold no line end, so no two pairs are hashed alike.
    """
    digest = hashlib.sha256(f"{flag_name}\n{targeting_key}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:4], "big") * BUCKETS >> 32


class FlagSet:
    """Flags of all scopes at one moment; it does not change."""

    def __init__(self, flags: Iterable[Flag] = ()) -> None:
        rows: dict[str, dict[tuple[str | None, str | None, str | None], Flag]] = {}
        names: dict[str | None, set[str]] = {}
        narrow: dict[str, set[str | None]] = {}
        timed, needed = set(), dict[str, set[str]]()
        for flag in flags:
            rows.setdefault(flag.flag_name, {})[flag.key] = flag
            names.setdefault(flag.organization_id, set()).add(flag.flag_name)
            if flag.workspace_id is not None or flag.user_id is not None:
                narrow.setdefault(flag.flag_name, set()).add(flag.organization_id)
            if flag.starts_at is not None or flag.expires_at is not None:
                timed.add(flag.flag_name)
            if flag.prerequisites:
                needed.setdefault(flag.flag_name, set()).update(flag.prerequisites)
        self._rows = rows
        self._names = names
        self._narrow = narrow
        self._timed = timed
        self._needed = needed

    def names(self, organization_id: str | None) -> list[str]:
        """Return the flags that have a row for everyone or somewhere in an organization."""
        return sorted(self._names.get(None, set()) | self._names.get(organization_id, set()))

    def changed(self, before: FlagSet, organization_id: str | None) -> list[str]:
        """Return the flags whose rows for everyone or in an organization are not what they were *before*."""
        names = sorted({*self._rows, *before._rows})
        return [name for name in names if self._seen(name, organization_id) != before._seen(name, organization_id)]

    def _seen(self, name: str, organization_id: str | None) -> dict[Any, Flag]:
        rows = self._rows.get(name, {})
        return {key: row for key, row in rows.items() if key[0] in (None, organization_id)}

    def flags(self) -> Iterable[Flag]:
        """Yield every row, by name."""
        for rows in self._rows.values():
            yield from rows.values()

    def is_known(self, name: str, organization_id: str | None) -> bool:
        """Tell whether a flag has a row for everyone or somewhere in an organization."""
        return name in self._names.get(None, ()) or name in self._names.get(organization_id, ())

    def applicable(self, name: str, who: Subject) -> list[Flag]:
        """Return the rows that count for *who*, the narrowest first."""
        rows = self._rows.get(name)
        if rows is None:
            return []
        organization, workspace, user = who.organization_id, who.workspace_id, who.user_id
        keys = (
            (organization, workspace, user), (organization, None, user), (organization, workspace, None),
            (organization, None, None), (None, None, None),
        )  # fmt: skip
        return [rows[key] for key in dict.fromkeys(keys) if key in rows]

    def is_the_same_for_all(self, name: str, organization_id: str | None) -> bool:
        """Tell whether every user and workspace of an organization gets the same answer, at any time."""
        return self._is_simple(name, organization_id, ())

    def _is_simple(self, name: str, organization_id: str | None, above: tuple[str, ...]) -> bool:
        rows = self.applicable(name, Subject(organization_id))
        if not rows or name in above or name in self._timed or organization_id in self._narrow.get(name, ()):
            return False
        if any(row.shares is not None for row in rows):
            return False
        needed = {needed for row in rows for needed in row.prerequisites or ()}
        return all(self._is_simple(other, organization_id, (*above, name)) for other in needed)

    def is_timeless(self, name: str) -> bool:
        """Tell whether the answer depends on who asks alone, and not on when."""
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            name = waiting.pop()
            if name in self._timed:
                return False
            seen.add(name)
            waiting.extend(self._needed.get(name, set()) - seen)
        return True

    def next_change(self, now: datetime) -> datetime | None:
        """Return when, after *now*, a flag starts or expires."""
        times = (moment for flag in self.flags() for moment in (flag.starts_at, flag.expires_at))
        return min((moment for moment in times if moment is not None and moment > now), default=None)

    def mark(self, organization_id: str | None, now: datetime) -> str:
        """Return a hash that changes whenever an answer to that organization may: a row does, or its time comes.

        It is the same in every process, and no other organization's flags are in it.
        """
        digest = hashlib.sha256()
        for name in self.names(organization_id):
            rows = self._seen(name, organization_id)
            for key in sorted(rows, key=repr):
                row = rows[key]
                has_started = row.starts_at is None or now >= row.starts_at
                has_expired = row.expires_at is not None and now >= row.expires_at
                said = (name, key, row.version, row.updated_at, has_started, has_expired)
                digest.update(repr(said).encode(errors="surrogatepass"))
        return digest.hexdigest()


def evaluate(flags: FlagSet, name: str, who: Subject, now: datetime) -> Evaluation:
    """Return what *who* gets of the flag called *name* at *now*; what is wrong with it is in the answer."""
    return _evaluate(flags, name, who, now, (), {})


def _evaluate(
    flags: FlagSet, name: str, who: Subject, now: datetime, above: tuple[str, ...], known: dict[str, bool]
) -> Evaluation:
    rows = flags.applicable(name, who)
    if not rows:
        return _missing(flags, name, who)
    killed = next((row for row in reversed(rows) if row.killed), None)
    if killed is not None:
        return _off(killed, rows, f"killed for {killed.scope}")
    row = rows[0]
    malformed = next((wider.malformed for wider in rows if wider.malformed), None)
    if malformed is not None:
        return _error(row, "PARSE_ERROR", malformed)
    if not row.is_enabled:
        return _off(row, rows, "off")
    if row.starts_at is not None and now < row.starts_at:
        return _off(row, rows, "not started")
    if row.expires_at is not None and now >= row.expires_at:
        return _off(row, rows, "expired")
    for needed in _first(wider.prerequisites for wider in rows) or ():
        if not _is_met(flags, needed, who, now, (*above, name), known):
            return _off(row, rows, f"prerequisite {needed} is off")
    return _on(row, rows, who)


def _is_met(
    flags: FlagSet, name: str, who: Subject, now: datetime, above: tuple[str, ...], known: dict[str, bool]
) -> bool:
    """Tell whether a prerequisite is on; what leads back to itself is not."""
    if name in above or len(above) > MAX_DEPTH:
        return False
    if name not in known:
        known[name] = _evaluate(flags, name, who, now, above, known).is_enabled
    return known[name]


def _on(row: Flag, rows: Sequence[Flag], who: Subject) -> Evaluation:
    variants = _variants(rows)
    shares = row.shares
    if shares is None:
        sole = sole_variant(variants)
        if sole is not None:
            return _served(row, variants, sole, "STATIC" if row.scope == "global" else "TARGETING_MATCH")
        shares = _first(wider.shares for wider in rows)
        if shares is None:
            return _error(row, "PARSE_ERROR", "several variants, and no rollout that chooses")
    if sum(share for _, share in shares) in (0, BUCKETS) and sum(share > 0 for _, share in shares) <= 1:
        variant = next((name for name, share in shares if share), OFF)
        return _served(row, variants, variant, "SPLIT")
    if not who.user_id:
        return _error(row, "TARGETING_KEY_MISSING", "a rollout needs to know who asks")
    place = bucket(row.flag_name, who.user_id)
    for name, share in shares:
        if place < share:
            return _served(row, variants, name, "SPLIT")
        place -= share
    return _served(row, variants, OFF, "SPLIT")


def sole_variant(variants: Mapping[str, Any]) -> str | None:
    """Return the variant that "on" means: the one called so, or the only one that is not off."""
    if ON in variants:
        return ON
    others = [name for name in variants if name != OFF]
    return others[0] if len(others) == 1 else None


def _variants(rows: Sequence[Flag]) -> Mapping[str, Any]:
    return _first(row.variants for row in rows) or BOOLEAN


def _first(values: Iterable[Any]) -> Any:
    return next((value for value in values if value is not None), None)


def _served(row: Flag, variants: Mapping[str, Any], variant: str, reason: Reason) -> Evaluation:
    if variant not in variants and variant != OFF:
        return _error(row, "PARSE_ERROR", f"variant {variant} has no value")
    value = variants.get(variant)
    return _answer(row, value, variant, reason, is_enabled=variant != OFF and value is not False)


def _off(row: Flag, rows: Sequence[Flag], why: str) -> Evaluation:
    return _answer(row, _variants(rows).get(OFF), OFF, "DISABLED", is_enabled=False, message=why)


def _error(row: Flag, code: ErrorCode, message: str) -> Evaluation:
    return _answer(row, None, None, "ERROR", is_enabled=False, error_code=code, message=message)


def _answer(row: Flag, value: Any, variant: str | None, reason: Reason, **more: Any) -> Evaluation:
    return Evaluation(
        flag_name=row.flag_name,
        value=value,
        variant=variant,
        reason=reason,
        scope=row.scope,
        version=row.version,
        owner=row.owner,
        **more,
    )


def _missing(flags: FlagSet, name: str, who: Subject) -> Evaluation:
    known = flags.is_known(name, who.organization_id)
    return Evaluation(
        flag_name=name,
        is_enabled=False,
        value=None,
        variant=None,
        reason="DEFAULT",
        scope="default",
        version=None,
        error_code=None if known else "FLAG_NOT_FOUND",
        message=None if known else f"Flag '{name}' was not found",
    )
