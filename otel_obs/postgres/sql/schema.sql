-- name: lock_migrations
-- One runner at a time; whoever waits for a lock that a reader holds gives up soon and begins anew.
SELECT set_config('lock_timeout', '2s', true), set_config('statement_timeout', '0', true),
       pg_advisory_xact_lock(7243001, 0);

-- name: lock_session
-- For files that may not run in a transaction.
SELECT pg_advisory_lock(7243001, 2);

-- name: invalid_indexes
-- What CREATE INDEX CONCURRENTLY leaves behind when it is interrupted: it costs writers, serves nobody, and IF NOT EXISTS
-- would take it for the index that is wanted.
SELECT n.nspname, c.relname
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'otel_obs' AND NOT i.indisvalid AND c.relkind = 'i';

-- name: unlock_session
SELECT pg_advisory_unlock(7243001, 2);

-- name: has_record
SELECT to_regclass('otel_obs.schema_migrations') IS NOT NULL;

-- name: create_record
CREATE SCHEMA IF NOT EXISTS otel_obs;
CREATE TABLE otel_obs.schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON SCHEMA otel_obs IS 'otel_obs: what AI workflows did and what they cost.';
COMMENT ON TABLE otel_obs.schema_migrations IS 'Migrations that were applied.';
COMMENT ON COLUMN otel_obs.schema_migrations.version IS 'Number of the file.';
COMMENT ON COLUMN otel_obs.schema_migrations.name IS 'Name of the file.';
COMMENT ON COLUMN otel_obs.schema_migrations.checksum IS 'SHA-256 of the file, in hex: a changed file is refused.';
COMMENT ON COLUMN otel_obs.schema_migrations.applied_at IS 'When it was applied.';

-- name: applied
SELECT version, checksum FROM otel_obs.schema_migrations ORDER BY version;

-- name: record
INSERT INTO otel_obs.schema_migrations (version, name, checksum) VALUES (%(version)s, %(name)s, %(checksum)s);
