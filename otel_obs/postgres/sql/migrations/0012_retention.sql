-- Retention: which days each organization was promised and when, what runs deleted, and who runs.

SET LOCAL search_path TO otel_obs;

-- A plan's days count as long as they were in force within the grace period: the longest of them holds. So fewer days
-- count only after it, and an upgrade before that undoes them. The very first plan counts at once.
CREATE TABLE plan_changes (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id text NOT NULL REFERENCES organizations ON DELETE CASCADE,
    since           timestamptz NOT NULL,
    plan            text,
    days            integer,
    audited         boolean NOT NULL DEFAULT false
);
CREATE INDEX plan_changes_organization_idx ON plan_changes (organization_id, since, id);
CREATE INDEX plan_changes_audited_idx ON plan_changes (id) WHERE NOT audited;

COMMENT ON TABLE plan_changes IS 'What each organization''s plan kept, and since when; written by a trigger, whoever changes the plan.';
COMMENT ON COLUMN plan_changes.id IS 'Number of the change.';
COMMENT ON COLUMN plan_changes.organization_id IS 'Organization whose plan it is.';
COMMENT ON COLUMN plan_changes.since IS 'When it was set.';
COMMENT ON COLUMN plan_changes.plan IS 'The plan; NULL: none.';
COMMENT ON COLUMN plan_changes.days IS 'Days that rows are kept under it; NULL: without end.';
COMMENT ON COLUMN plan_changes.audited IS 'audit_log tells of it.';

CREATE FUNCTION plan_days(plan text, retention_days integer) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE plan WHEN 'free' THEN 90 WHEN 'pro' THEN 365 WHEN 'team' THEN 365
                     WHEN 'enterprise' THEN coalesce(retention_days, 365) END
$$;
COMMENT ON FUNCTION plan_days(text, integer) IS 'Days that rows are kept under a plan; NULL: without end.';

CREATE FUNCTION note_plan() RETURNS trigger
LANGUAGE plpgsql SET search_path = otel_obs AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.plan IS NULL THEN
            RETURN NULL;
        END IF;
    ELSIF plan_days(NEW.plan, NEW.retention_days) IS NOT DISTINCT FROM plan_days(OLD.plan, OLD.retention_days)
            AND NEW.plan IS NOT DISTINCT FROM OLD.plan THEN
        RETURN NULL;
    END IF;
    INSERT INTO plan_changes (organization_id, since, plan, days)
    VALUES (NEW.id, coalesce(nullif(current_setting('otel_obs.now', true), '')::timestamptz, now()), NEW.plan,
            plan_days(NEW.plan, NEW.retention_days));
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION note_plan() IS 'Notes what a plan keeps from now (setting otel_obs.now, else the clock) on.';
CREATE TRIGGER organizations_plan AFTER INSERT OR UPDATE OF plan, retention_days ON organizations
    FOR EACH ROW EXECUTE FUNCTION note_plan();

INSERT INTO plan_changes (organization_id, since, plan, days)
SELECT id, updated_at, plan, plan_days(plan, retention_days) FROM organizations WHERE plan IS NOT NULL;

CREATE TABLE retention_runs (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id          text NOT NULL,
    ran_at          timestamptz NOT NULL,
    organization_id text,
    table_name      text NOT NULL,
    cutoff          timestamptz,
    rows            bigint NOT NULL,
    bytes           bigint NOT NULL,
    duration_ms     double precision NOT NULL,
    partition_name  text,
    action          text NOT NULL CHECK (action IN ('delete', 'drop', 'rewrite', 'sweep')),
    CONSTRAINT retention_runs_key UNIQUE NULLS NOT DISTINCT
        (run_id, organization_id, table_name, action, partition_name)
);
CREATE INDEX retention_runs_ran_idx ON retention_runs (ran_at);
CREATE INDEX retention_runs_organization_idx ON retention_runs (organization_id, ran_at);
ALTER TABLE retention_runs ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE retention_runs IS 'What each run of retention deleted, by organization and table, and what disk it gave back.';
COMMENT ON COLUMN retention_runs.id IS 'Number of the row.';
COMMENT ON COLUMN retention_runs.run_id IS 'What the rows of one run have in common.';
COMMENT ON COLUMN retention_runs.ran_at IS 'The moment that the run''s cut-offs are counted from.';
COMMENT ON COLUMN retention_runs.organization_id IS 'Organization whose rows were deleted; NULL: a partition, whoever''s rows it held.';
COMMENT ON COLUMN retention_runs.table_name IS 'Table they were deleted from.';
COMMENT ON COLUMN retention_runs.cutoff IS 'Rows from before this moment were deleted.';
COMMENT ON COLUMN retention_runs.rows IS 'Rows deleted.';
COMMENT ON COLUMN retention_runs.bytes IS 'Of an organization: their share of the partitions'' size. Of a partition: bytes of disk given back, measured.';
COMMENT ON COLUMN retention_runs.duration_ms IS 'Time it took, in milliseconds.';
COMMENT ON COLUMN retention_runs.partition_name IS 'Partition that was dropped, emptied or rewritten; NULL in rows of organizations.';
COMMENT ON COLUMN retention_runs.action IS 'delete: rows by age; drop or rewrite: a partition; sweep: rows of what was deleted by name.';

-- One look into an index for each organization of each partition, however many rows there are.
CREATE FUNCTION organizations_of(partitions text[]) RETURNS TABLE (partition_name text, organization_id text)
LANGUAGE plpgsql SET search_path = otel_obs AS $$
BEGIN
    FOREACH partition_name IN ARRAY partitions LOOP
        organization_id := '';
        LOOP
            EXECUTE format('SELECT p.organization_id FROM %I AS p WHERE p.organization_id > $1 '
                           'ORDER BY p.organization_id LIMIT 1', partition_name)
                INTO organization_id USING organization_id;
            EXIT WHEN organization_id IS NULL;
            RETURN NEXT;
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON FUNCTION organizations_of(text[]) IS 'Whose rows these partitions of hot tables hold.';

-- Rows that were deleted from a partition and whose space was not given back yet.
CREATE TABLE partition_deletes (
    partition_name text PRIMARY KEY,
    rows           bigint NOT NULL,
    bytes          bigint NOT NULL
);
ALTER TABLE partition_deletes ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE partition_deletes IS 'Space inside partitions that deleted rows left: a partition is rewritten once it is worth it.';
COMMENT ON COLUMN partition_deletes.partition_name IS 'Partition.';
COMMENT ON COLUMN partition_deletes.rows IS 'Rows deleted since it was last rewritten.';
COMMENT ON COLUMN partition_deletes.bytes IS 'Their share of its size.';

-- Before this moment rows of the organization are gone by age: its roll-ups can no longer be computed from them.
CREATE TABLE expired_rows (
    organization_id text PRIMARY KEY REFERENCES organizations ON DELETE CASCADE,
    before          timestamptz NOT NULL
);
ALTER TABLE expired_rows ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE expired_rows IS 'How far retention has deleted: roll-ups of days before that stay as they are.';
COMMENT ON COLUMN expired_rows.organization_id IS 'Organization.';
COMMENT ON COLUMN expired_rows.before IS 'The latest cut-off that was ever applied.';

ALTER TABLE deleted_tenants ADD COLUMN swept_at timestamptz;
COMMENT ON COLUMN deleted_tenants.swept_at IS 'When retention last looked for rows that a writer left meanwhile.';

-- They know no workspace and no partition; ordered by time as they are, a few pages of index find what is old.
CREATE INDEX call_registry_timestamp_idx ON call_registry USING brin ("timestamp");
CREATE INDEX call_reports_timestamp_idx ON call_reports USING brin ("timestamp");

-- One runner at a time, without a lock that lives in a session. Taking over changes the fence, and with it a key: that
-- waits for transactions that hold the row FOR KEY SHARE, so who lost the lease can commit nothing more.
CREATE TABLE maintenance_leases (
    name       text PRIMARY KEY,
    fence      bigint NOT NULL,
    holder     text NOT NULL,
    expires_at timestamptz NOT NULL,
    UNIQUE (name, fence)
);
ALTER TABLE maintenance_leases ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE maintenance_leases IS 'Who may run jobs now, until when.';
COMMENT ON COLUMN maintenance_leases.name IS 'What the lease is for.';
COMMENT ON COLUMN maintenance_leases.fence IS 'Grows with each holder; a transaction of an earlier one does not commit.';
COMMENT ON COLUMN maintenance_leases.holder IS 'Host, process and thread.';
COMMENT ON COLUMN maintenance_leases.expires_at IS 'When others may take it, by the database''s clock.';

CREATE TABLE maintenance_slots (
    scheduled_for timestamptz PRIMARY KEY,
    started_at    timestamptz NOT NULL,
    finished_at   timestamptz,
    holder        text NOT NULL,
    attempts      integer NOT NULL DEFAULT 1,
    jobs          jsonb
);
ALTER TABLE maintenance_slots ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE maintenance_slots IS 'Times of the schedule that were served: each once, whoever is up.';
COMMENT ON COLUMN maintenance_slots.scheduled_for IS 'When the schedule said.';
COMMENT ON COLUMN maintenance_slots.started_at IS 'When it was begun (last), later than scheduled_for if it was missed.';
COMMENT ON COLUMN maintenance_slots.finished_at IS 'When all jobs had ended well; NULL: not yet, it will be begun again.';
COMMENT ON COLUMN maintenance_slots.holder IS 'Who ran it.';
COMMENT ON COLUMN maintenance_slots.attempts IS 'How often it was begun.';
COMMENT ON COLUMN maintenance_slots.jobs IS 'What became of its jobs.';

CREATE TABLE maintenance_jobs (
    job             text PRIMARY KEY,
    last_run_at     timestamptz NOT NULL,
    last_success_at timestamptz,
    last_error      text
);
ALTER TABLE maintenance_jobs ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE maintenance_jobs IS 'When each job last ran and last ended well, on whatever host.';
COMMENT ON COLUMN maintenance_jobs.job IS 'Name of the job.';
COMMENT ON COLUMN maintenance_jobs.last_run_at IS 'When it last ended, well or not.';
COMMENT ON COLUMN maintenance_jobs.last_success_at IS 'When it last ended well.';
COMMENT ON COLUMN maintenance_jobs.last_error IS 'What kept it from that since; NULL: nothing.';

DO $$
DECLARE
    organization CONSTANT text := $s$(SELECT nullif(current_setting('otel_obs.organization_id', true), ''))$s$;
BEGIN
    EXECUTE format('CREATE POLICY reader ON retention_runs FOR SELECT TO otel_obs_reader USING (organization_id = %s)',
                   organization);
    EXECUTE format('CREATE POLICY reader ON plan_changes FOR SELECT TO otel_obs_reader USING (organization_id = %s)',
                   organization);
END
$$;
ALTER TABLE plan_changes ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON retention_runs, plan_changes TO otel_obs_reader;
