-- Who is signed in to the dashboard. What a browser holds is not stored: here is its hash, and the key it stands for.

SET LOCAL search_path TO otel_obs;

CREATE TABLE dashboard_sessions (
    token_hash bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    key_id     text NOT NULL REFERENCES api_keys ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > created_at)
);
CREATE INDEX dashboard_sessions_key_idx ON dashboard_sessions (key_id);
CREATE INDEX dashboard_sessions_expires_idx ON dashboard_sessions (expires_at);
ALTER TABLE dashboard_sessions ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE dashboard_sessions IS 'Browsers that are signed in to the dashboard, each with the API key it was signed in with.';
COMMENT ON COLUMN dashboard_sessions.token_hash IS 'SHA-256 of the cookie, which has 256 random bits.';
COMMENT ON COLUMN dashboard_sessions.key_id IS 'Key that decides, at each request, what may be seen and changed.';
COMMENT ON COLUMN dashboard_sessions.created_at IS 'When somebody signed in.';
COMMENT ON COLUMN dashboard_sessions.expires_at IS 'First moment when it is refused.';
