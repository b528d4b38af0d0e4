-- Whoever changes feature_flags, also with plain SQL: its versions grow, and servers are told.
--
-- The row of flag_set is locked until commit, so its versions have the order of the commits: whoever has seen a
-- version has seen every change before it. A sequence would not do: its numbers are seen before the rows are.
-- Triggers stand in a file of their own: they can only be installed on plain PostgreSQL.

SET LOCAL search_path TO otel_obs;

CREATE FUNCTION count_flag_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = otel_obs AS $$
BEGIN
    NEW.version := greatest(NEW.version, OLD.version + 1);
    IF NEW.updated_at = OLD.updated_at THEN
        NEW.updated_at := clock_timestamp();
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION tell_flags_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path = otel_obs AS $$
DECLARE
    now_at bigint;
BEGIN
    -- Deleting a tenant that has no flags changes none.
    IF TG_OP <> 'TRUNCATE' THEN
        IF NOT EXISTS (SELECT FROM changed) THEN
            RETURN NULL;
        END IF;
    END IF;
    UPDATE flag_set SET version = version + 1, changed_at = clock_timestamp() RETURNING version INTO now_at;
    PERFORM pg_notify('otel_obs_flags', now_at::text);
    RETURN NULL;
END
$$;

CREATE FUNCTION delete_flag_usage() RETURNS trigger
LANGUAGE plpgsql SET search_path = otel_obs AS $$
BEGIN
    DELETE FROM flag_usage WHERE organization_id IN (SELECT id FROM gone);
    RETURN NULL;
END
$$;

CREATE TRIGGER feature_flags_counted BEFORE UPDATE ON feature_flags
    FOR EACH ROW EXECUTE FUNCTION count_flag_change();
CREATE TRIGGER feature_flags_inserted AFTER INSERT ON feature_flags
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION tell_flags_changed();
CREATE TRIGGER feature_flags_updated AFTER UPDATE ON feature_flags
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION tell_flags_changed();
CREATE TRIGGER feature_flags_deleted AFTER DELETE ON feature_flags
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION tell_flags_changed();
CREATE TRIGGER feature_flags_truncated AFTER TRUNCATE ON feature_flags
    FOR EACH STATEMENT EXECUTE FUNCTION tell_flags_changed();
CREATE TRIGGER organizations_deleted_flag_usage AFTER DELETE ON organizations
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION delete_flag_usage();

COMMENT ON FUNCTION count_flag_change() IS 'A flag that is changed has a new version, whoever changed it.';
COMMENT ON FUNCTION tell_flags_changed() IS 'Count the change in flag_set, and wake those that listen on otel_obs_flags.';
COMMENT ON FUNCTION delete_flag_usage() IS 'Forget what the organizations in gone asked for.';
