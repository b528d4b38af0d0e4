-- The audit log: a chain for each organization, written by one function, also for who changes flags and keys with SQL.
--
-- One chain for all made everybody wait for whoever writes, and nobody could check his own part of it. The chain of
-- before goes on as that of entries that concern no single organization. What a seal covers is said in audit_seal,
-- which Python computes again.

SET LOCAL search_path TO otel_obs;

ALTER TABLE audit_log
    ADD COLUMN format   smallint NOT NULL DEFAULT 1,
    ADD COLUMN chain    text NOT NULL DEFAULT '',
    ADD COLUMN position bigint;
-- No row is updated for it: the table refuses that.
ALTER TABLE audit_log ALTER COLUMN position TYPE bigint USING id;
CREATE UNIQUE INDEX audit_log_chain_idx ON audit_log (chain, position);
CREATE INDEX audit_log_organization_idx ON audit_log (organization_id, id);

CREATE SEQUENCE audit_log_id_seq OWNED BY audit_log.id;
SELECT setval('audit_log_id_seq', coalesce(max(id), 0) + 1, false) FROM audit_log;

CREATE FUNCTION audit_field(value text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = otel_obs AS $$
    SELECT coalesce(octet_length(value) || ':' || value, '-')
$$;

CREATE FUNCTION audit_seal() RETURNS trigger
LANGUAGE plpgsql SET search_path = otel_obs AS $$
BEGIN
    NEW.id := nextval('audit_log_id_seq');
    NEW.at := clock_timestamp();
    NEW.format := 2;
    NEW.chain := coalesce(NEW.organization_id, '');
    -- One writer of a chain at a time, until it commits.
    PERFORM pg_advisory_xact_lock(hashtextextended('otel_obs.audit_log:' || NEW.chain, 0));
    SELECT l.position + 1, l.hash INTO NEW.position, NEW.previous_hash
    FROM audit_log AS l
    WHERE l.chain = NEW.chain
    ORDER BY l.position DESC NULLS LAST
    LIMIT 1;
    NEW.position := coalesce(NEW.position, 1);
    NEW.previous_hash := coalesce(NEW.previous_hash, '');
    NEW.hash := encode(sha256(convert_to(
        audit_field('2') || audit_field(NEW.id::text) || audit_field(NEW.position::text)
        || audit_field(to_char(NEW.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'))
        || audit_field(NEW.actor) || audit_field(NEW.organization_id)
        || audit_field(NEW.action) || audit_field(NEW.subject)
        || audit_field(NEW.before::text) || audit_field(NEW.after::text)
        || audit_field(NEW.why) || audit_field(NEW.previous_hash), 'UTF8')), 'hex');
    RETURN NEW;
END
$$;
-- Whatever is put in is sealed here: by triggers, by commands, by programs of the version before.
CREATE TRIGGER audit_log_sealed BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION audit_seal();

CREATE FUNCTION audit_append(
    actor text, organization_id text, action text, subject text, before jsonb, after jsonb, why text
) RETURNS void
LANGUAGE sql SET search_path = otel_obs AS $$
    INSERT INTO audit_log (id, at, actor, organization_id, action, subject, before, after, why, previous_hash, hash)
    VALUES (0, now(), $1, $2, $3, $4, $5, $6, $7, '', '')
$$;

CREATE FUNCTION audit_speaker() RETURNS text
LANGUAGE sql STABLE SET search_path = otel_obs AS $$
    SELECT nullif(current_setting('otel_obs.audit_actor', true), '')
$$;

CREATE FUNCTION audit_flag() RETURNS trigger
LANGUAGE plpgsql SET search_path = otel_obs SET timezone = 'UTC' AS $$
DECLARE
    before jsonb;
    after jsonb;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM audit_append(coalesce(audit_speaker(), 'sql:' || session_user), NULL, 'flags.truncate', 'all', NULL,
            NULL, nullif(current_setting('otel_obs.audit_why', true), ''));
        RETURN NULL;
    END IF;
    -- What goes with a tenant is told with the tenant.
    IF pg_trigger_depth() > 1 THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        before := to_jsonb(OLD) - 'updated_at';
    END IF;
    IF TG_OP <> 'DELETE' THEN
        after := to_jsonb(NEW) - 'updated_at';
    END IF;
    PERFORM audit_append(coalesce(audit_speaker(), 'sql:' || session_user),
        coalesce(after, before) ->> 'organization_id',
        CASE TG_OP WHEN 'DELETE' THEN 'flags.delete' ELSE 'flags.set' END,
        coalesce(after, before) ->> 'flag_name', before, after,
        nullif(current_setting('otel_obs.audit_why', true), ''));
    RETURN NULL;
END
$$;

CREATE FUNCTION audit_key() RETURNS trigger
LANGUAGE plpgsql SET search_path = otel_obs SET timezone = 'UTC' AS $$
DECLARE
    told text[] := ARRAY['organization_id', 'workspace_id', 'scopes', 'name', 'expires_at'];
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

CREATE FUNCTION audit_deleted_tenants() RETURNS trigger
LANGUAGE plpgsql SET search_path = otel_obs AS $$
DECLARE
    tenant record;
BEGIN
    -- Commands tell of it themselves, with how many rows went.
    IF pg_trigger_depth() > 1 OR audit_speaker() IS NOT NULL THEN
        RETURN NULL;
    END IF;
    FOR tenant IN SELECT to_jsonb(g) AS row FROM gone AS g LOOP
        PERFORM audit_append('sql:' || session_user, coalesce(tenant.row ->> 'organization_id', tenant.row ->> 'id'),
            CASE TG_TABLE_NAME WHEN 'organizations' THEN 'org.delete' WHEN 'workspaces' THEN 'workspace.delete'
                ELSE 'user.delete' END,
            tenant.row ->> 'id', NULL, NULL, nullif(current_setting('otel_obs.audit_why', true), ''));
    END LOOP;
    RETURN NULL;
END
$$;

CREATE TRIGGER feature_flags_audited AFTER INSERT OR UPDATE OR DELETE ON feature_flags
    FOR EACH ROW EXECUTE FUNCTION audit_flag();
CREATE TRIGGER feature_flags_audited_truncate AFTER TRUNCATE ON feature_flags
    FOR EACH STATEMENT EXECUTE FUNCTION audit_flag();
CREATE TRIGGER api_keys_audited AFTER INSERT OR DELETE
    OR UPDATE OF id, hash, organization_id, workspace_id, is_bound, scopes, name, expires_at, revoked_at ON api_keys
    FOR EACH ROW EXECUTE FUNCTION audit_key();
CREATE TRIGGER organizations_audited AFTER DELETE ON organizations
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION audit_deleted_tenants();
CREATE TRIGGER workspaces_audited AFTER DELETE ON workspaces
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION audit_deleted_tenants();
CREATE TRIGGER users_audited AFTER DELETE ON users
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION audit_deleted_tenants();

-- An administrator of an organization reads what concerns it; a key that is bound to a workspace reads nothing of it.
CREATE POLICY reader ON audit_log FOR SELECT TO otel_obs_reader
    USING (organization_id = (SELECT nullif(current_setting('otel_obs.organization_id', true), ''))
        AND (SELECT nullif(current_setting('otel_obs.workspace_id', true), '')) IS NULL);
GRANT SELECT ON audit_log TO otel_obs_reader;

COMMENT ON TABLE audit_log IS 'Who changed what, and why: append-only, each row sealed with the hash of the one before it in the chain of its organization.';
COMMENT ON COLUMN audit_log.id IS 'Number, in about the order in which it was done; of transactions that failed some are missing.';
COMMENT ON COLUMN audit_log.actor IS 'Who did it: key:ID, the account that ran the command, or sql:ROLE for whoever changed the tables.';
COMMENT ON COLUMN audit_log.previous_hash IS 'hash of the row before in this chain; empty for the first.';
COMMENT ON COLUMN audit_log.format IS 'What the hash covers: 2 as in audit_seal; 1 as JSON, one chain for all organizations.';
COMMENT ON COLUMN audit_log.chain IS 'Organization whose chain it stands in; empty: what concerns no single one, and all of format 1.';
COMMENT ON COLUMN audit_log.position IS 'Number in its chain, from 1, without gaps.';
COMMENT ON SEQUENCE audit_log_id_seq IS 'Numbers of audit_log.';
COMMENT ON FUNCTION audit_field(text) IS 'A value as seals cover it: length in bytes and text, or a dash for none.';
COMMENT ON FUNCTION audit_append(text, text, text, text, jsonb, jsonb, text) IS 'Write a row of audit_log.';
COMMENT ON FUNCTION audit_seal() IS 'Put a row at the end of the chain of its organization, sealed with the hash of the one before.';
COMMENT ON FUNCTION audit_speaker() IS 'Who the transaction says is acting; NULL: somebody with SQL.';
COMMENT ON FUNCTION audit_flag() IS 'A flag that is changed is in audit_log, whoever changed it.';
COMMENT ON FUNCTION audit_key() IS 'A key that is made, changed, revoked or deleted is in audit_log, whoever did it; being used is no change.';
COMMENT ON FUNCTION audit_deleted_tenants() IS 'Tenants that are deleted with SQL are in audit_log.';
