-- A login for Grafana that sees one organization, and writes nothing.  Run it as a superuser:
--
--   psql "$(otel-obs dsn)" -v login=grafana_acme -v password=... -v organization=acme -f reader.sql
--
-- Row-level security answers it as otel_obs_reader.  Whoever may edit panels can send any SQL, and with it
-- SET otel_obs.organization_id: let only those edit who may see all organizations.

\set ON_ERROR_STOP on

CREATE ROLE :"login" LOGIN PASSWORD :'password' NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS INHERIT CONNECTION LIMIT 10
    IN ROLE otel_obs_reader;
ALTER ROLE :"login" SET search_path = otel_obs;
ALTER ROLE :"login" SET otel_obs.organization_id = :'organization';
ALTER ROLE :"login" SET default_transaction_read_only = on;
ALTER ROLE :"login" SET statement_timeout = '30s';
