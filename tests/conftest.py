from __future__ import annotations

# In the order in which they import each other: pytest rewrites what it has not seen imported yet.
pytest_plugins = [
    "tests.fix_postgres",
    "tests.fix_schema",
    "tests.fix_kept",
    "tests.fix_writers",
    "tests.fix_collector",
    "tests.fix_ofrep",
    "tests.fix_spans",
    "tests.fix_browser",
]
