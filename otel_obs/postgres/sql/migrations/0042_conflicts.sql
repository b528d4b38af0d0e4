-- A span that came again and says something else is noted once, however often it comes.

SET LOCAL search_path TO otel_obs;

CREATE UNIQUE INDEX quarantine_conflict_key ON quarantine (organization_id, detail) WHERE reason = 'conflict';
