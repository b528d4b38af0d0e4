-- What servers ask again and again about flags (one number), and when each flag was last used.

SET LOCAL search_path TO otel_obs;

CREATE TABLE flag_set (
    is_it      boolean PRIMARY KEY DEFAULT true CHECK (is_it),
    version    bigint NOT NULL DEFAULT 0,
    changed_at timestamptz NOT NULL DEFAULT now(),
    secret     text NOT NULL
);
INSERT INTO flag_set (secret) VALUES (gen_random_uuid()::text || gen_random_uuid()::text);
ALTER TABLE flag_set ENABLE ROW LEVEL SECURITY;

CREATE TABLE flag_usage (
    organization_id   text NOT NULL,
    flag_name         text NOT NULL,
    last_evaluated_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, flag_name)
);
ALTER TABLE flag_usage ENABLE ROW LEVEL SECURITY;

CREATE INDEX feature_flags_organization_idx ON feature_flags (organization_id, workspace_id);
CREATE INDEX audit_log_subject_idx ON audit_log (subject, id);

COMMENT ON TABLE flag_set IS 'One row: which state of feature_flags this is.';
COMMENT ON COLUMN flag_set.is_it IS 'There is one row only.';
COMMENT ON COLUMN flag_set.version IS 'Grows with each transaction that changes feature_flags; in the order of their commits.';
COMMENT ON COLUMN flag_set.changed_at IS 'When feature_flags was last changed.';
COMMENT ON COLUMN flag_set.secret IS 'Signs the addresses of notification streams, alike on all servers.';

COMMENT ON TABLE flag_usage IS 'When programs last asked for a flag; asking for all flags at once does not count.';
COMMENT ON COLUMN flag_usage.organization_id IS 'Organization whose program asked.';
COMMENT ON COLUMN flag_usage.flag_name IS 'Flag that was asked for.';
COMMENT ON COLUMN flag_usage.last_evaluated_at IS 'When it was last asked for; up to a minute late.';

COMMENT ON COLUMN feature_flags.variants IS 'Values by variant name, all of one type; "off" is what it serves while it is off. NULL: as in the wider scope, else {"on": true, "off": false}.';
COMMENT ON COLUMN feature_flags.rollout IS 'Percent of users that get each variant, such as {"on": 25}, to three decimals; the others get "off". NULL: everyone.';
COMMENT ON COLUMN feature_flags.prerequisites IS 'Names of flags that must be on for this one to count, as an array. NULL: as in the wider scope.';
COMMENT ON COLUMN feature_flags.version IS 'Grows with each change, also across deletion; a writer names the version it read.';
