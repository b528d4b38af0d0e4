-- Who the rows belong to, and what is kept per organization beside them.

SET LOCAL search_path TO otel_obs;

CREATE TABLE organizations (
    id             text PRIMARY KEY,
    plan           text CHECK (plan IN ('free', 'pro', 'team', 'enterprise')),
    retention_days integer CHECK (retention_days > 0),
    legal_hold     boolean NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE workspaces (
    organization_id text NOT NULL REFERENCES organizations ON DELETE CASCADE,
    id              text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id)
);

CREATE TABLE users (
    organization_id text NOT NULL REFERENCES organizations ON DELETE CASCADE,
    id              text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id)
);

CREATE TABLE workflows (
    organization_id text NOT NULL REFERENCES organizations ON DELETE CASCADE,
    id              text NOT NULL,
    workspace_id    text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, workspace_id) REFERENCES workspaces ON DELETE CASCADE
);
CREATE INDEX workflows_workspace_idx ON workflows (organization_id, workspace_id);

CREATE TABLE deleted_tenants (
    organization_id text NOT NULL,
    workspace_id    text NOT NULL DEFAULT '',
    user_id         text NOT NULL DEFAULT '',
    deleted_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, workspace_id, user_id)
);

CREATE TABLE resources (
    organization_id text NOT NULL,
    hash            text NOT NULL,
    attributes      jsonb NOT NULL,
    first_seen      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, hash)
);

CREATE TABLE feature_flags (
    flag_name       text NOT NULL,
    is_enabled      boolean NOT NULL DEFAULT false,
    organization_id text,
    workspace_id    text,
    user_id         text,
    variants        jsonb,
    rollout         jsonb,
    prerequisites   jsonb,
    starts_at       timestamptz,
    expires_at      timestamptz,
    killed          boolean NOT NULL DEFAULT false,
    description     text,
    owner           text,
    version         bigint NOT NULL DEFAULT 1,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (flag_name, organization_id, workspace_id, user_id),
    CONSTRAINT feature_flags_scope_check
        CHECK (organization_id IS NOT NULL OR (workspace_id IS NULL AND user_id IS NULL))
);

CREATE TABLE model_prices (
    id              text PRIMARY KEY,
    organization_id text,
    provider        text NOT NULL,
    model_name      text NOT NULL,
    valid_from      timestamptz NOT NULL,
    valid_to        timestamptz,
    source          text NOT NULL,
    currency        text NOT NULL DEFAULT 'USD',
    unit_prices     jsonb NOT NULL CHECK (jsonb_typeof(unit_prices) = 'object'),
    created_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT model_prices_validity_check CHECK (valid_to > valid_from)
);
CREATE INDEX model_prices_model_idx ON model_prices (model_name, valid_from);

CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = otel_obs AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'Insert a row with a later validity instead.';
END
$$;
COMMENT ON FUNCTION refuse_change() IS 'Trigger of append-only tables: rows that were used to compute money stay as they were.';

CREATE TRIGGER model_prices_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON model_prices
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE quarantine (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id text NOT NULL,
    workspace_id    text NOT NULL DEFAULT '',
    received_at     timestamptz NOT NULL,
    signal          text NOT NULL,
    reason          text NOT NULL,
    detail          text NOT NULL DEFAULT '',
    payload         bytea,
    sha256          text,
    replayed_at     timestamptz
);
CREATE INDEX quarantine_received_idx ON quarantine (organization_id, received_at);

COMMENT ON TABLE organizations IS 'Who has a plan and pays. Deleting a row deletes everything of that organization.';
COMMENT ON COLUMN organizations.id IS 'Id of the organization, at most 200 bytes.';
COMMENT ON COLUMN organizations.plan IS 'free, pro, team or enterprise: how long rows are kept. NULL: nobody said, rows are kept.';
COMMENT ON COLUMN organizations.retention_days IS 'Days that rows are kept, for enterprise plans; NULL: what the plan says.';
COMMENT ON COLUMN organizations.legal_hold IS 'Nothing is deleted by retention while it is true.';
COMMENT ON COLUMN organizations.created_at IS 'When it was first seen or set.';
COMMENT ON COLUMN organizations.updated_at IS 'When plan, days or hold were last set.';

COMMENT ON TABLE workspaces IS 'Parts of an organization. Deleting a row deletes everything of that workspace.';
COMMENT ON COLUMN workspaces.organization_id IS 'Organization it belongs to.';
COMMENT ON COLUMN workspaces.id IS 'Id of the workspace, unique inside the organization.';
COMMENT ON COLUMN workspaces.created_at IS 'When it was first seen or set.';

COMMENT ON TABLE users IS 'End users of an organization''s programs. Deleting a row deletes everything of that user.';
COMMENT ON COLUMN users.organization_id IS 'Organization whose programs the user used.';
COMMENT ON COLUMN users.id IS 'user.id, unique inside the organization.';
COMMENT ON COLUMN users.created_at IS 'When it was first seen.';

COMMENT ON TABLE workflows IS 'Workflows that are bound to a workspace.';
COMMENT ON COLUMN workflows.organization_id IS 'Organization it belongs to.';
COMMENT ON COLUMN workflows.id IS 'otel_obs.workflow.id, unique inside the organization.';
COMMENT ON COLUMN workflows.workspace_id IS 'Workspace to which its spans belong.';
COMMENT ON COLUMN workflows.created_at IS 'When it was first set.';

COMMENT ON TABLE deleted_tenants IS 'What was deleted and must not come back through a late span.';
COMMENT ON COLUMN deleted_tenants.organization_id IS 'Organization that was deleted, or from which something was.';
COMMENT ON COLUMN deleted_tenants.workspace_id IS 'Workspace that was deleted; empty for a whole organization or a user.';
COMMENT ON COLUMN deleted_tenants.user_id IS 'User that was deleted; empty for an organization or a workspace.';
COMMENT ON COLUMN deleted_tenants.deleted_at IS 'When.';

COMMENT ON TABLE resources IS 'What sent spans: one row per distinct OTLP resource of an organization.';
COMMENT ON COLUMN resources.organization_id IS 'Organization it belongs to.';
COMMENT ON COLUMN resources.hash IS 'Hash of the attributes; event_logs.resource_hash.';
COMMENT ON COLUMN resources.attributes IS 'The attributes of the resource, as sent.';
COMMENT ON COLUMN resources.first_seen IS 'When it was first seen.';

COMMENT ON TABLE feature_flags IS 'One row per flag and scope; the narrowest scope wins.';
COMMENT ON COLUMN feature_flags.flag_name IS 'Key of the flag.';
COMMENT ON COLUMN feature_flags.is_enabled IS 'On or off in this scope.';
COMMENT ON COLUMN feature_flags.organization_id IS 'Organization it is set for; NULL: everyone.';
COMMENT ON COLUMN feature_flags.workspace_id IS 'Workspace it is set for; NULL: all of the organization.';
COMMENT ON COLUMN feature_flags.user_id IS 'User it is set for; NULL: everyone in the scope.';
COMMENT ON COLUMN feature_flags.variants IS 'Values by variant name; NULL: on and off.';
COMMENT ON COLUMN feature_flags.rollout IS 'Share of users that gets each variant.';
COMMENT ON COLUMN feature_flags.prerequisites IS 'Flags that must be on for this one to count.';
COMMENT ON COLUMN feature_flags.starts_at IS 'Off before this time.';
COMMENT ON COLUMN feature_flags.expires_at IS 'Off from this time on.';
COMMENT ON COLUMN feature_flags.killed IS 'Off for everyone in the scope, whatever narrower scopes say.';
COMMENT ON COLUMN feature_flags.description IS 'What it is for.';
COMMENT ON COLUMN feature_flags.owner IS 'Who answers for it.';
COMMENT ON COLUMN feature_flags.version IS 'Grows with each change; a writer names the version it read.';
COMMENT ON COLUMN feature_flags.updated_at IS 'When it was last changed.';

COMMENT ON TABLE model_prices IS 'What a model costs: all unit prices over one validity. Append-only.';
COMMENT ON COLUMN model_prices.id IS 'Hash of the content; model_cost_logs.price_id.';
COMMENT ON COLUMN model_prices.organization_id IS 'Organization that pays this price; NULL: everyone.';
COMMENT ON COLUMN model_prices.provider IS 'gen_ai.provider.name.';
COMMENT ON COLUMN model_prices.model_name IS 'Model it is the price of.';
COMMENT ON COLUMN model_prices.valid_from IS 'First moment of its validity.';
COMMENT ON COLUMN model_prices.valid_to IS 'First moment after its validity; NULL: still valid.';
COMMENT ON COLUMN model_prices.source IS 'Where the price was taken from.';
COMMENT ON COLUMN model_prices.currency IS 'Currency of the unit prices.';
COMMENT ON COLUMN model_prices.unit_prices IS 'Price of each unit by its name.';
COMMENT ON COLUMN model_prices.created_at IS 'When the row was written.';

COMMENT ON TABLE quarantine IS 'What was refused, kept with the reason until it is replayed or expires.';
COMMENT ON COLUMN quarantine.id IS 'Number of the entry.';
COMMENT ON COLUMN quarantine.organization_id IS 'Organization of the credential it came with.';
COMMENT ON COLUMN quarantine.workspace_id IS 'Workspace it was meant for; empty where that is not known.';
COMMENT ON COLUMN quarantine.received_at IS 'When it came.';
COMMENT ON COLUMN quarantine.signal IS 'traces or logs.';
COMMENT ON COLUMN quarantine.reason IS 'Short code: trace_id:absent, span_too_large, conflict ...';
COMMENT ON COLUMN quarantine.detail IS 'What else is known about the reason, without content.';
COMMENT ON COLUMN quarantine.payload IS 'The one span or record as OTLP protobuf, cut at 64 KiB.';
COMMENT ON COLUMN quarantine.sha256 IS 'SHA-256 of the payload, in hex.';
COMMENT ON COLUMN quarantine.replayed_at IS 'When it was taken in after all; NULL: not yet.';
