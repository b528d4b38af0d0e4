from __future__ import annotations

pytest_plugins = ["tests.fix_kept", "tests.fix_postgres", "tests.fix_schema", "tests.fix_spans"]
