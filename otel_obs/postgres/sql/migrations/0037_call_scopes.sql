-- Reports of one call in two traces are looked for only where a sender has two instrumentations that report calls.

SET LOCAL search_path TO otel_obs;

ALTER TABLE resources ADD COLUMN call_scopes text[] NOT NULL DEFAULT '{}';
ALTER TABLE unsettled_traces ADD COLUMN resource_hash text;

COMMENT ON COLUMN resources.call_scopes IS 'Instrumentation scopes that report calls, the first two of them.';
COMMENT ON COLUMN unsettled_traces.resource_hash IS 'The trace is final only while this sender has one instrumentation that reports calls: another might tell the same ones.';
