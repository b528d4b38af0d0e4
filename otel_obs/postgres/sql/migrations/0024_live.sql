-- What is new: readers find it among the traces that wait to be settled.

SET LOCAL search_path TO otel_obs;

ALTER TABLE unsettled_traces ENABLE ROW LEVEL SECURITY;
DO $$
BEGIN
    EXECUTE format('CREATE POLICY reader ON unsettled_traces FOR SELECT TO otel_obs_reader USING (organization_id = %s)',
                   $s$(SELECT nullif(current_setting('otel_obs.organization_id', true), ''))$s$);
END
$$;
GRANT SELECT ON unsettled_traces TO otel_obs_reader;
