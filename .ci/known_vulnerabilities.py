"""Has anything that is locked a known vulnerability?  Exit 1 if so, and a loud word where nobody could tell.

``pip-audit`` asks PyPI about each release. Where only a mirror is reached that does not answer such questions, nothing
is known: that is said, and is no failure, for a build must not depend on a service being up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"
WITHIN_S = 120


def main() -> int:
    """Ask, and say what was answered."""
    command = [str(Path(sys.executable).with_name("pip-audit")), "--requirement", str(LOCK), "--require-hashes"]
    command += ["--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WITHIN_S)
        asked = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return _nobody_knows("the service was not reached")
    found = [(one["name"], one["version"], bug) for one in asked for bug in one.get("vulns", ())]
    for name, version, bug in found:
        fixed = ", ".join(bug["fix_versions"]) or "no release yet"
        sys.stdout.write(f"{name} {version}: {bug['id']} ({', '.join(bug['aliases'])}), mended by {fixed}\n")
    unknown = [one["name"] for one in asked if "skip_reason" in one]
    if len(unknown) == len(asked):
        return _nobody_knows("no package was found there")
    if unknown:
        sys.stdout.write(f"not known there: {', '.join(unknown)}\n")
    sys.stdout.write(f"{len(asked) - len(unknown)} of {len(asked)} packages looked up, {len(found)} vulnerabilities\n")
    return 1 if found else 0


def _nobody_knows(why: str) -> int:
    frame = "!" * 100
    sys.stdout.write(f"{frame}\nNOT AUDITED: {why}; vulnerabilities of what is locked are not known.\n{frame}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
