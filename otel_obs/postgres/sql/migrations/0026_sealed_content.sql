-- Content that only its organization's key opens.
--
-- Where there are encryption keys, what was said rests in the columns named _encrypted, and the readable ones are NULL.
-- Data keys are kept wrapped by a key that the database never sees; with the organization they go, and so does what
-- they open, in every backup.

SET LOCAL search_path TO otel_obs;

CREATE TABLE data_keys (
    organization_id text NOT NULL,
    id              text NOT NULL,
    purpose         text NOT NULL CHECK (purpose IN ('content', 'index')),
    wrapped_by      text NOT NULL,
    wrapped         bytea NOT NULL,
    messages        bigint NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL DEFAULT now(),
    retired_at      timestamptz,
    PRIMARY KEY (organization_id, id)
);
-- One of each purpose is in force.
CREATE UNIQUE INDEX data_keys_in_force ON data_keys (organization_id, purpose) WHERE retired_at IS NULL;

COMMENT ON TABLE data_keys IS 'Keys that content is sealed with, wrapped: of no use to who reads the database alone.';
COMMENT ON COLUMN data_keys.organization_id IS 'Organization whose content it seals; deleted with it.';
COMMENT ON COLUMN data_keys.id IS 'Name of the key, which stands at the beginning of what it sealed.';
COMMENT ON COLUMN data_keys.purpose IS 'content: seals what was said; index: makes hashes of content that nobody else can make.';
COMMENT ON COLUMN data_keys.wrapped_by IS 'Name of the operator''s key, or of their key service''s, that wrapped it.';
COMMENT ON COLUMN data_keys.wrapped IS 'The key, wrapped.';
COMMENT ON COLUMN data_keys.messages IS 'How much it has sealed, about: it is replaced before that is too much.';
COMMENT ON COLUMN data_keys.created_at IS 'When it was made.';
COMMENT ON COLUMN data_keys.retired_at IS 'Since when it only opens; NULL: it is in force.';

ALTER TABLE data_keys ENABLE ROW LEVEL SECURITY;
-- Who may read content needs the key that it was sealed with, and cannot use it without the operator's.
CREATE POLICY reader ON data_keys FOR SELECT TO otel_obs_reader
    USING (organization_id = (SELECT nullif(current_setting('otel_obs.organization_id', true), '')));
GRANT SELECT ON data_keys TO otel_obs_reader;

ALTER TABLE agent_trace_history ADD COLUMN input_context_encrypted bytea;
ALTER TABLE agent_trace_history ADD COLUMN output_summary_encrypted bytea;
ALTER TABLE prompt_similarity_logs ADD COLUMN flagged_reference_encrypted bytea;
ALTER TABLE quarantine ADD COLUMN payload_encrypted bytea;
-- Ciphertext does not compress; trying costs time.
ALTER TABLE agent_trace_history ALTER COLUMN input_context_encrypted SET STORAGE EXTERNAL;
ALTER TABLE agent_trace_history ALTER COLUMN output_summary_encrypted SET STORAGE EXTERNAL;
ALTER TABLE prompt_similarity_logs ALTER COLUMN flagged_reference_encrypted SET STORAGE EXTERNAL;
ALTER TABLE quarantine ALTER COLUMN payload_encrypted SET STORAGE EXTERNAL;

COMMENT ON COLUMN agent_trace_history.input_context IS 'What the agent was given, shortened; NULL where it is encrypted.';
COMMENT ON COLUMN agent_trace_history.output_summary IS 'Beginning of what the agent answered: 2,000 characters; NULL where it is encrypted.';
COMMENT ON COLUMN agent_trace_history.input_context_encrypted IS 'What the agent was given, as JSON, encrypted with a key of the organization.';
COMMENT ON COLUMN agent_trace_history.output_summary_encrypted IS 'Beginning of what the agent answered, encrypted with a key of the organization.';
COMMENT ON COLUMN prompt_similarity_logs.flagged_reference IS 'What it was found similar to; NULL where it is encrypted.';
COMMENT ON COLUMN prompt_similarity_logs.flagged_reference_encrypted IS 'What it was found similar to, encrypted with a key of the organization.';
COMMENT ON COLUMN quarantine.payload_encrypted IS 'The payload, encrypted with a key of the organization; payload is empty then.';
COMMENT ON COLUMN quarantine.sha256 IS 'SHA-256 of the payload, in hex; where it is encrypted a keyed hash of that, which begins with k.';
COMMENT ON COLUMN span_contents.sha256 IS 'SHA-256 of the whole body, in hex; where it is encrypted a keyed hash of that, which begins with k.';
COMMENT ON COLUMN model_cost_logs.prompt_hash IS 'Equal for equal prompts (system, tools and messages); where content is encrypted a keyed hash, which begins with k.';
