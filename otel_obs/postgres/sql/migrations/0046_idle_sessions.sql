-- A session of the dashboard that nobody uses ends before its time.

SET LOCAL search_path TO otel_obs;

ALTER TABLE dashboard_sessions ADD COLUMN used_at timestamptz;

COMMENT ON COLUMN dashboard_sessions.used_at IS 'When somebody used it last, to the minute; NULL: not since created_at.';
