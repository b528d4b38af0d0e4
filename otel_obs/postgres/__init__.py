"""Rows in PostgreSQL: schema, partitions, writing, settling, and the embedded server."""
