"""SQL by name: each statement of ``sql/*.sql`` stands under a line ``-- name: ...``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from typing_extensions import LiteralString

_HEADER = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def load(name: str) -> dict[str, LiteralString]:
    """Return the statements of ``sql/NAME.sql`` by their names."""
    text = (files("otel_obs.postgres") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    parts = _HEADER.split(text)[1:]
    # What stands in the package's own files is as literal as what stands in its code.
    return cast("dict[str, LiteralString]", dict(zip(parts[::2], parts[1::2], strict=True)))


def naming(columns: Iterable[str], statement: LiteralString) -> LiteralString:
    """Return *statement* with *columns* in the place of its ``t.*``.

    Rows are read by position: a column that a newer release has added must not come with them.
    """
    if "t.*" not in statement:
        raise ValueError(statement)
    return statement.replace("t.*", ", ".join(f't."{column}"' for column in columns))
