-- name: has_database
SELECT 1 FROM pg_database WHERE datname = 'otel_obs';

-- name: create_database
CREATE DATABASE otel_obs;
