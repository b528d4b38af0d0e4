-- Keys of operators: they look after all organizations, and send for none.

SET LOCAL search_path TO otel_obs;

ALTER TABLE api_keys ADD COLUMN is_operator boolean NOT NULL DEFAULT false;
ALTER TABLE api_keys ADD CONSTRAINT api_keys_operator_check
    CHECK (NOT is_operator OR (NOT is_bound AND scopes <@ ARRAY['read', 'admin']));

COMMENT ON COLUMN api_keys.is_operator IS 'The parameter organization_id may name any organization; without it, it is the key''s own.';

CREATE OR REPLACE FUNCTION audit_key() RETURNS trigger
LANGUAGE plpgsql SET search_path = otel_obs SET timezone = 'UTC' AS $$
DECLARE
    told text[] := ARRAY['organization_id', 'workspace_id', 'scopes', 'is_operator', 'name', 'expires_at'];
    before jsonb;
    after jsonb;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT array_agg(n.key) INTO told
        FROM jsonb_each(to_jsonb(NEW)) AS n JOIN jsonb_each(to_jsonb(OLD)) AS o USING (key)
        WHERE n.value <> o.value;
        -- A key that lost its tenant, which is told of itself, and opens nothing any more.
        IF told <@ ARRAY['organization_id', 'workspace_id', 'name']
            AND (NEW.organization_id IS NULL OR (NEW.is_bound AND NEW.workspace_id IS NULL))
        THEN
            RETURN NULL;
        END IF;
    END IF;
    -- Of a hash that it changed, not which.
    IF TG_OP <> 'INSERT' THEN
        SELECT jsonb_object_agg(key, CASE key WHEN 'hash' THEN '"before"' ELSE value END) INTO before
        FROM jsonb_each(to_jsonb(OLD)) WHERE key = ANY(told);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        SELECT jsonb_object_agg(key, CASE key WHEN 'hash' THEN '"after"' ELSE value END) INTO after
        FROM jsonb_each(to_jsonb(NEW)) WHERE key = ANY(told);
    END IF;
    PERFORM audit_append(coalesce(audit_speaker(), 'sql:' || session_user),
        CASE TG_OP WHEN 'DELETE' THEN OLD.organization_id ELSE NEW.organization_id END,
        CASE TG_OP WHEN 'INSERT' THEN 'keys.create' WHEN 'DELETE' THEN 'keys.delete'
            ELSE CASE WHEN OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL THEN 'keys.revoke'
                ELSE 'keys.change' END END,
        CASE TG_OP WHEN 'DELETE' THEN OLD.id ELSE NEW.id END, before, after,
        nullif(current_setting('otel_obs.audit_why', true), ''));
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER api_keys_audited AFTER INSERT OR DELETE
    OR UPDATE OF id, hash, organization_id, workspace_id, is_bound, scopes, name, expires_at, revoked_at, is_operator
    ON api_keys
    FOR EACH ROW EXECUTE FUNCTION audit_key();
