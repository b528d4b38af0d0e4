"""Dataclasses that the type checker knows as frozen, and that nothing guards while the program runs.

A guarded one takes three times as long to make, and a span is made into a dozen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses

    _T = TypeVar("_T")

    def dataclass(*, frozen: bool, **options: bool) -> Callable[[type[_T]], type[_T]]:
        """Make a dataclass that compares and hashes as a frozen one."""
        return dataclasses.dataclass(**options, unsafe_hash=frozen)


__all__ = ["dataclass"]
