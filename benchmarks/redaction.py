# ruff: noqa: INP001, T201 -- a program that prints
"""What redaction costs: CPU microseconds for each KB of content, in each kind of text.

.venv/bin/python -m benchmarks.redaction
"""

from __future__ import annotations

import json
import time

from otel_obs.rows.redaction import PATTERNS, Redaction

SIZE = 64 * 1024
ROUNDS = 40
TEXTS = {
    "prose": "The parcel left the warehouse on Monday, and the courier says it is on its way to the customer. ",
    "messages as JSON": json.dumps({"role": "user", "parts": [{"type": "text", "content": "Where is parcel 1234?"}]}),
    "code": "def risk_of(task: Task, *, limit: int = 1_000) -> float:\n    return task.cost / limit  # risk-free\n",
    "numbers": "2026-11-25T04:07:39.123Z 1700000000 0.4123123123 4bf92f3577b34da6 3,141.59 100 200 3000 ",
    "full of secrets": "dana@acme.example +49 30 901820 4111 1111 1111 1111 sk-0123456789abcdefghij0123456789 ",
}


def main() -> None:
    """Print a row for each kind of text: all patterns, then each alone."""
    ways = {"all": Redaction(PATTERNS), **{name: Redaction([name]) for name in PATTERNS}}
    print(f"{'us of CPU a KB':<18}" + "".join(f"{name:>12}" for name in ways))
    for kind, sample in TEXTS.items():
        text = (sample * (SIZE // len(sample) + 1))[:SIZE]
        costs = []
        for redact in ways.values():
            began = time.process_time()
            for _ in range(ROUNDS):
                redact(text)
            costs.append((time.process_time() - began) / ROUNDS / (SIZE / 1024) * 1e6)
        print(f"{kind:<18}" + "".join(f"{cost:>12.1f}" for cost in costs))


if __name__ == "__main__":
    main()
