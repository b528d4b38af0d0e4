"""How often is memory searched for garbage in circles? Seldom: rows go when nobody refers to them."""

from __future__ import annotations

import gc

_OBJECTS_BETWEEN_SEARCHES = 10_000
_SEARCHES = (20, 50)
"""So many searches of the young between two of the middle-aged, and of these between two of everything."""


def search_seldom() -> None:
    """Search only what comes from now on, and that seldom; for processes that do little but make rows.

    With the usual settings a tenth of the CPU went into looking at rows that were still on their way to PostgreSQL.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_SEARCHES, *_SEARCHES)
