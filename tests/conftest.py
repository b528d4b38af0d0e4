from __future__ import annotations

pytest_plugins = ["tests.fix_browser", "tests.fix_kept", "tests.fix_ofrep", "tests.fix_postgres", "tests.fix_schema"]
