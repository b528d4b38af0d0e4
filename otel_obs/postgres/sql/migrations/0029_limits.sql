-- What each tenant's content is kept of, and how much an organization may send and store.

SET LOCAL search_path TO otel_obs;

ALTER TABLE organizations
    ADD COLUMN content text,
    ADD COLUMN max_spans_per_second bigint CHECK (max_spans_per_second >= 0),
    ADD COLUMN max_bytes_per_second bigint CHECK (max_bytes_per_second >= 0),
    ADD COLUMN max_bytes_per_day bigint CHECK (max_bytes_per_day >= 0),
    ADD COLUMN max_stored_bytes bigint CHECK (max_stored_bytes >= 0),
    ADD CONSTRAINT organizations_content_check
        CHECK (content ~ '^(store|drop|mask|sample:(100|[0-9]{1,2}(\.[0-9]{1,4})?))$');
ALTER TABLE workspaces
    ADD COLUMN content text,
    ADD CONSTRAINT workspaces_content_check
        CHECK (content ~ '^(store|drop|mask|sample:(100|[0-9]{1,2}(\.[0-9]{1,4})?))$');

COMMENT ON COLUMN organizations.content IS 'What is kept of prompts, answers, tool arguments and results: store, drop, mask, or sample:PERCENT of traces; the strictest of OTEL_OBS_CONTENT, this and the workspace''s holds. NULL: store.';
COMMENT ON COLUMN organizations.max_spans_per_second IS 'Spans and log records that one gateway takes in a second; NULL: OTEL_OBS_MAX_SPANS_PER_SECOND, 0: no limit.';
COMMENT ON COLUMN organizations.max_bytes_per_second IS 'Bytes of decompressed requests that one gateway takes in a second; NULL: OTEL_OBS_MAX_BYTES_PER_SECOND, 0: no limit.';
COMMENT ON COLUMN organizations.max_bytes_per_day IS 'Bytes of rows that all gateways take in a day (UTC); NULL: OTEL_OBS_MAX_BYTES_PER_DAY, 0: no limit.';
COMMENT ON COLUMN organizations.max_stored_bytes IS 'Bytes of rows that are kept under the plan; NULL: OTEL_OBS_MAX_STORED_BYTES, 0: no limit.';
COMMENT ON COLUMN workspaces.content IS 'As organizations.content, for this workspace only. NULL: store.';

CREATE INDEX organizations_ruled_idx ON organizations (id)
    WHERE content IS NOT NULL OR max_spans_per_second IS NOT NULL OR max_bytes_per_second IS NOT NULL
        OR max_bytes_per_day IS NOT NULL OR max_stored_bytes IS NOT NULL;
CREATE INDEX workspaces_ruled_idx ON workspaces (organization_id, id) WHERE content IS NOT NULL;

CREATE TABLE tenant_usage (
    organization_id text NOT NULL REFERENCES organizations ON DELETE CASCADE,
    day             date NOT NULL,
    workspace_id    text NOT NULL,
    records         bigint NOT NULL,
    bytes           bigint NOT NULL,
    dropped         bigint NOT NULL,
    PRIMARY KEY (organization_id, day, workspace_id)
);

COMMENT ON TABLE tenant_usage IS 'What gateways took from each tenant in a day (UTC), to within seconds: counted when it was accepted, what was sent twice twice.';
COMMENT ON COLUMN tenant_usage.organization_id IS 'Organization.';
COMMENT ON COLUMN tenant_usage.day IS 'Day on which it was accepted, in UTC.';
COMMENT ON COLUMN tenant_usage.workspace_id IS 'Workspace; empty for what was dropped, of which nobody looked where it belongs.';
COMMENT ON COLUMN tenant_usage.records IS 'Spans and log records.';
COMMENT ON COLUMN tenant_usage.bytes IS 'About how large their rows are: their content, and 1,500 bytes each.';
COMMENT ON COLUMN tenant_usage.dropped IS 'Spans and log records that were not stored, because a quota was used up.';

CREATE FUNCTION forget_usage() RETURNS trigger
LANGUAGE plpgsql SET search_path = otel_obs AS $$
BEGIN
    DELETE FROM tenant_usage AS u USING gone AS g WHERE u.organization_id = g.organization_id AND u.workspace_id = g.id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION forget_usage() IS 'What a deleted workspace stored does not count any more.';
CREATE TRIGGER workspaces_usage AFTER DELETE ON workspaces REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION forget_usage();

ALTER TABLE tenant_usage ENABLE ROW LEVEL SECURITY;

CREATE POLICY reader ON tenant_usage FOR SELECT TO otel_obs_reader USING (
    organization_id = (SELECT nullif(current_setting('otel_obs.organization_id', true), ''))
    AND ((SELECT nullif(current_setting('otel_obs.workspace_id', true), '')) IS NULL
        OR workspace_id = (SELECT nullif(current_setting('otel_obs.workspace_id', true), '')))
);
GRANT SELECT ON tenant_usage TO otel_obs_reader;
