-- Where nothing of what was refused is kept, payload is NULL: it was empty, which is no content that could be sealed.

SET LOCAL search_path TO otel_obs;

UPDATE quarantine SET payload = NULL WHERE payload = '';

COMMENT ON COLUMN quarantine.payload IS 'The one span or record, cut at 64 KiB: as sent (protobuf or JSON), or as read (JSON) if only its rows were refused. NULL where content is dropped, or encrypted.';
