"""Feature flags: what is switched on, for whom. Evaluated in memory, kept in PostgreSQL."""
