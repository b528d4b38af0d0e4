-- Credentials of senders and readers. What a key says is known to its holder only: here is its hash.
--
-- Rows of deleted tenants stay, without the ids: whoever still has the key is told why it is refused, nothing of
-- the tenant is kept, and an id that is set again does not bring old keys back to life.

SET LOCAL search_path TO otel_obs;

CREATE TABLE api_keys (
    id              text PRIMARY KEY CHECK (id ~ '^[0-9a-z]{16}$'),
    hash            bytea NOT NULL CHECK (octet_length(hash) = 32),
    organization_id text REFERENCES organizations ON DELETE SET NULL,
    workspace_id    text,
    is_bound        boolean NOT NULL,
    scopes          text[] NOT NULL
        CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['ingest', 'read', 'flags', 'admin']),
    name            text NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT now(),
    created_by      text NOT NULL,
    expires_at      timestamptz,
    revoked_at      timestamptz,
    last_used_at    timestamptz,
    CONSTRAINT api_keys_bound_check CHECK (is_bound OR workspace_id IS NULL),
    CONSTRAINT api_keys_expiry_check CHECK (expires_at > created_at),
    FOREIGN KEY (organization_id, workspace_id) REFERENCES workspaces ON DELETE SET NULL (workspace_id)
);
CREATE INDEX api_keys_organization_idx ON api_keys (organization_id, workspace_id);
CREATE INDEX api_keys_created_idx ON api_keys (created_at, id);
ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION forget_organization_of_key() RETURNS trigger
LANGUAGE plpgsql SET search_path = otel_obs AS $$
BEGIN
    NEW.workspace_id := NULL;
    NEW.name := '';
    RETURN NEW;
END
$$;
CREATE TRIGGER api_keys_organization_deleted BEFORE UPDATE OF organization_id ON api_keys
    FOR EACH ROW WHEN (NEW.organization_id IS NULL) EXECUTE FUNCTION forget_organization_of_key();
COMMENT ON FUNCTION forget_organization_of_key() IS 'Of a key whose organization was deleted nothing stays but that it was one.';

COMMENT ON TABLE api_keys IS 'API keys: whose data their holders may write or read. The keys themselves are not stored.';
COMMENT ON COLUMN api_keys.id IS 'The part of the key that names it; not secret.';
COMMENT ON COLUMN api_keys.hash IS 'SHA-256 of the whole key, which has 256 random bits.';
COMMENT ON COLUMN api_keys.organization_id IS 'Organization whose data it opens; NULL: that organization was deleted.';
COMMENT ON COLUMN api_keys.workspace_id IS 'The only workspace that it opens; NULL: all of them, or (with is_bound) one that was deleted.';
COMMENT ON COLUMN api_keys.is_bound IS 'It opens one workspace only, also after that was deleted: then none.';
COMMENT ON COLUMN api_keys.scopes IS 'What it allows: ingest, read, flags, admin; none includes another.';
COMMENT ON COLUMN api_keys.name IS 'What it is for, as whoever made it says.';
COMMENT ON COLUMN api_keys.created_at IS 'When it was made.';
COMMENT ON COLUMN api_keys.created_by IS 'Who made it.';
COMMENT ON COLUMN api_keys.expires_at IS 'First moment when it is refused; NULL: never.';
COMMENT ON COLUMN api_keys.revoked_at IS 'When it was revoked; NULL: it was not.';
COMMENT ON COLUMN api_keys.last_used_at IS 'About when it was last used: written at most once a minute.';
