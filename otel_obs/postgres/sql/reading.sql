-- name: read_only
-- One state of the database for all statements of an answer: a day that is rolled up between two of them would be
-- counted twice or not at all.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: become_reader
-- All of it ends with the transaction. Many weeks make a plan that is dear enough for JIT, which then takes longer than
-- what it is to speed up.
SELECT set_config('otel_obs.organization_id', %(organization_id)s, true),
    set_config('otel_obs.workspace_id', %(workspace_id)s, true),
    set_config('statement_timeout', %(statement_timeout)s, true),
    set_config('jit', 'off', true),
    set_config('role', 'otel_obs_reader', true);

-- name: give_up_after
-- Says what held before, so that it can be put back.
SELECT current_setting('statement_timeout'), set_config('statement_timeout', %(statement_timeout)s, true);

-- name: give_up_as_before
SELECT set_config('statement_timeout', %(statement_timeout)s, true);
