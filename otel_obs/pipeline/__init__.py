"""From decoded spans to a store: reading, settling, batching."""

from __future__ import annotations
