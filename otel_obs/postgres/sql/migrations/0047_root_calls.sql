-- Reports of one call in two traces are looked for only where a sender has once lost a call's context.

SET LOCAL search_path TO otel_obs;

ALTER TABLE resources ADD COLUMN root_calls boolean;

COMMENT ON COLUMN resources.root_calls IS 'Whether it has reported a call as the root of a trace, as an instrumentation does that lost the context; NULL where nobody looked.';
