-- What was refused can be taken in later: how is its payload to be read?

SET LOCAL search_path TO otel_obs;
SET LOCAL lock_timeout = '2s';

ALTER TABLE quarantine ADD COLUMN format text NOT NULL DEFAULT '';

COMMENT ON COLUMN quarantine.format IS 'How the payload is to be read: sent (one OTLP span or log record, protobuf or JSON), read (JSON of what was decoded), rows (JSON of its rows), request/protobuf, request/json or request/rows (a whole request); empty: there is none, or nobody noted it.';
COMMENT ON COLUMN quarantine.payload IS 'What was refused: one span or record, cut at 64 KiB, or up to 4 MiB of its rows where the database refuses them, or a whole request that could not be read after it had been accepted. Empty where content is dropped.';
COMMENT ON COLUMN quarantine.reason IS 'Short code: trace_id:absent, span_too_large, workspace_not_allowed, storage_rejected, not_decodable ...';
