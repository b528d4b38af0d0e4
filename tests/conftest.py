from __future__ import annotations

pytest_plugins = [
    "tests.fix_postgres",  # first: others import it
    "tests.fix_collector",
    "tests.fix_kept",
    "tests.fix_ofrep",
    "tests.fix_schema",
]
