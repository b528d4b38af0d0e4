"""How are figures spelled for people?  Short enough for a table, never more exact than they are; unknown is a dash."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal

UNKNOWN = "–"
_STEPS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def money(cents: Decimal | float | None) -> str:
    """Return an amount in dollars: two decimals, more below a dollar, and never a rounded 0."""
    if cents is None:
        return UNKNOWN
    dollars = Decimal(cents) / 100
    size = abs(dollars)
    if size == 0:
        return "$0"
    sign = "−" if dollars < 0 else ""
    if size >= 100_000:
        return f"{sign}${short(float(size))}"
    if size >= 1:
        return f"{sign}${size:,.2f}"
    if size >= Decimal("0.1"):
        return f"{sign}${size:.3f}"
    if size >= Decimal("0.001"):
        return f"{sign}${size:.4f}"
    return f"{sign}${size:.6f}" if size >= Decimal("0.000001") else f"{sign}<$0.000001"


def axis_money(cents: float | None) -> str:
    """Return an amount beside an axis: as many decimals as it needs, two at least."""
    if not cents:
        return "$0"
    dollars = cents / 100
    if dollars >= 10_000:
        return f"${short(dollars)}"
    if dollars >= 10 and dollars == int(dollars):
        return f"${dollars:,.0f}"
    digits = next((count for count in range(2, 7) if abs(round(dollars, count) - dollars) < dollars / 200), 7)
    return f"${dollars:,.{digits}f}"


def short(value: float | None) -> str:
    """Return a number with three digits and k, M, B or T."""
    if value is None:
        return UNKNOWN
    if isinstance(value, int) and abs(value) < 10_000:
        return f"{value:,}"
    for size, suffix in _STEPS:
        if abs(value) >= size:
            scaled = value / size
            return f"{scaled:.0f}{suffix}" if abs(scaled) >= 100 else f"{scaled:.3g}{suffix}"
    return f"{value:,.3g}"


def number(value: int | None) -> str:
    """Return a whole number with all its digits."""
    return UNKNOWN if value is None else f"{value:,}"


def duration(milliseconds: float | None) -> str:
    """Return a time span in the unit that fits."""
    if milliseconds is None:
        return UNKNOWN
    if milliseconds < 1:
        return "<1 ms" if milliseconds > 0 else "0 ms"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} m" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def size(count: int | None) -> str:
    """Return a number of bytes in the unit that fits."""
    if count is None:
        return UNKNOWN
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} TiB"


def share(part: float | None, whole: float | None = 1) -> str:
    """Return *part* of *whole* in percent."""
    if part is None or not whole:
        return UNKNOWN
    percent = 100 * float(part) / float(whole)
    if 0 < percent < 0.1:
        return "<0.1 %"
    return f"{percent:.0f} %" if percent in (0, 100) or 10 <= percent < 99.5 else f"{percent:.1f} %"


def moment(at: datetime | None) -> str:
    """Return a moment in UTC, to the second; the year only where it is not this one."""
    if at is None:
        return UNKNOWN
    at = at.astimezone(timezone.utc)
    year = "" if at.year == datetime.now(tz=timezone.utc).year else f" {at.year}"
    return f"{at:%b} {at.day}{year}, {at:%H:%M:%S}"


def ago(at: datetime | None) -> str:
    """Return how long ago a moment was."""
    if at is None:
        return UNKNOWN
    passed = datetime.now(tz=timezone.utc) - at
    if passed < timedelta(minutes=1):
        return "just now"
    if passed < timedelta(hours=1):
        return f"{passed // timedelta(minutes=1)} min ago"
    if passed < timedelta(days=2):
        return f"{passed // timedelta(hours=1)} h ago"
    return f"{passed.days} days ago"


def period_name(starts: datetime, step: str) -> str:
    """Return what a chart calls a period."""
    if step == "hour":
        return f"{starts:%b} {starts.day}, {starts:%H:%M}"
    return f"{starts:%b %Y}" if step == "month" else f"{starts:%b} {starts.day}"


def change(now: float | Decimal | None, before: float | Decimal | None) -> str | None:
    """Return by how much *now* differs from *before*, in percent; None where there is nothing to compare."""
    if now is None or not before:
        return None
    percent = 100 * (float(now) - float(before)) / float(before)
    if abs(percent) < 0.5:
        return "±0 %"
    sign = "+" if percent > 0 else "−"
    return (
        f"{sign}{abs(percent):,.0f} %" if abs(percent) < 1000 else f"{sign}{abs(percent) / 100 + (percent > 0):,.0f}×"
    )
