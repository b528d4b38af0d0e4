"""What is installed, and by what word it is held to be what was locked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
ENTRY = re.compile(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)(?: ; ([^\\]+?))? \\$", re.MULTILINE)
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def locked() -> dict[str, list[str]]:
    """Return the versions by name: one, or some for different Pythons and systems."""
    found: dict[str, list[str]] = {}
    for name, version, _ in ENTRY.findall(LOCK):
        found.setdefault(canonicalize_name(name), []).append(version)
    return found


def test_the_lock_is_in_step_with_what_the_package_asks_for() -> None:
    asked = [
        Requirement(text)
        for texts in (
            PROJECT["build-system"]["requires"],
            PROJECT["project"]["dependencies"],
            *PROJECT["project"]["optional-dependencies"].values(),
        )
        for text in texts
    ]
    versions = locked()
    missing = [
        str(one)
        for one in asked
        if canonicalize_name(one.name) != "otel-obs"
        and not any(
            one.specifier.contains(version, prereleases=True)
            for version in versions.get(canonicalize_name(one.name), [])
        )
    ]
    assert missing == [], "run `make lock`"


def test_everything_in_the_lock_has_hashes_and_names_no_place() -> None:
    blocks = re.split(r"^(?=[a-z0-9])", LOCK, flags=re.MULTILINE)
    packages = [block for block in blocks if ENTRY.match(block)]

    assert len(packages) == len(ENTRY.findall(LOCK)) > 100
    assert all("--hash=sha256:" in block for block in packages)
    assert not re.search(r"://|--index-url|--find-links|^-e|@ ", LOCK, re.MULTILINE)


def test_what_runs_here_is_what_is_locked() -> None:
    versions = locked()
    other = {
        name: (found, versions.get(name))
        for distribution in metadata.distributions()
        if (name := canonicalize_name(distribution.metadata["Name"])) not in ("otel-obs", "pip", "setuptools", "wheel")
        and (found := distribution.version) not in versions.get(name, [])
    }
    if len(other) > len(versions) // 2:
        pytest.skip("this environment was not made with `make install`")
    assert other == {}, "run `make install`"


def test_a_known_vulnerability_fails_the_build_and_a_silent_service_does_not(tmp_path: Path) -> None:
    bad = {
        "dependencies": [
            {"name": "a", "version": "1", "vulns": [{"id": "X-1", "aliases": ["CVE-1"], "fix_versions": ["2"]}]},
            {"name": "b", "version": "1", "vulns": []},
        ]
    }
    clean = {"dependencies": [{"name": "a", "version": "1", "vulns": []}]}
    unknown = {"dependencies": [{"name": "a", "skip_reason": "not found"}]}
    for said, code, word in (
        (json.dumps(bad), 1, "a 1: X-1 (CVE-1), mended by 2"),
        (json.dumps(clean), 0, "1 of 1 packages looked up"),
        (json.dumps(unknown), 0, "NOT AUDITED"),
        ("", 0, "NOT AUDITED"),
    ):
        done = _asked(tmp_path, said)
        assert (done.returncode, word in done.stdout) == (code, True), done


def _asked(folder: Path, said: str) -> subprocess.CompletedProcess[str]:
    """Run the step with a ``pip-audit`` that answers *said*, beside a Python of its own."""
    (folder / "python").unlink(missing_ok=True)
    (folder / "python").symlink_to(sys.executable)
    audit = folder / "pip-audit"
    audit.write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\n")
    audit.chmod(0o755)
    script = ROOT / ".ci" / "known_vulnerabilities.py"
    return subprocess.run(
        [str(folder / "python"), str(script)], capture_output=True, text=True, check=False, timeout=60
    )
