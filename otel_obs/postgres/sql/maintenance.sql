-- name: make_lease
-- Whichever key is in the way of who comes second, it is there then.
INSERT INTO maintenance_leases (name, fence, holder, expires_at) VALUES (%(name)s, 0, '', '-infinity')
ON CONFLICT DO NOTHING;

-- name: take_lease
-- Who finds it expired takes it over; that waits for transactions of whoever had it.
UPDATE maintenance_leases SET fence = fence + 1, holder = %(holder)s, expires_at = clock_timestamp() + %(ttl)s::interval
WHERE name = %(name)s AND expires_at <= clock_timestamp()
RETURNING fence;

-- name: lease
SELECT fence, holder, expires_at FROM maintenance_leases WHERE name = %(name)s;

-- name: renew_lease
UPDATE maintenance_leases SET expires_at = clock_timestamp() + %(ttl)s::interval
WHERE name = %(name)s AND fence = %(fence)s;

-- name: release_lease
UPDATE maintenance_leases SET expires_at = '-infinity' WHERE name = %(name)s AND fence = %(fence)s;

-- name: hold_fence
SELECT FROM maintenance_leases WHERE name = %(name)s AND fence = %(fence)s FOR KEY SHARE;

-- name: moments
-- The database's clock, when the schema was made, and the last time of the schedule that was served to its end.
SELECT clock_timestamp(), (SELECT min(applied_at) FROM schema_migrations),
    (SELECT max(scheduled_for) FROM maintenance_slots WHERE finished_at IS NOT NULL);

-- name: begin_slot
-- Once for each time; one that did not end well is begun again, but not at once.
INSERT INTO maintenance_slots AS s (scheduled_for, started_at, holder)
VALUES (%(scheduled_for)s, clock_timestamp(), %(holder)s)
ON CONFLICT (scheduled_for) DO UPDATE
    SET started_at = EXCLUDED.started_at, holder = EXCLUDED.holder, attempts = s.attempts + 1
    WHERE s.finished_at IS NULL
        AND (s.jobs IS NULL OR s.started_at < clock_timestamp() - %(pause)s::interval)
RETURNING attempts;

-- name: end_slot
UPDATE maintenance_slots
SET jobs = %(jobs)s, finished_at = CASE WHEN %(well)s THEN clock_timestamp() END
WHERE scheduled_for = %(scheduled_for)s;

-- name: forget_slots
DELETE FROM maintenance_slots WHERE scheduled_for < clock_timestamp() - interval '400 days';

-- name: job_ended
INSERT INTO maintenance_jobs AS j (job, last_run_at, last_success_at, last_error)
VALUES (%(job)s, clock_timestamp(), CASE WHEN %(error)s::text IS NULL THEN clock_timestamp() END, %(error)s)
ON CONFLICT (job) DO UPDATE SET
    last_run_at = EXCLUDED.last_run_at,
    last_success_at = coalesce(EXCLUDED.last_success_at, j.last_success_at),
    last_error = EXCLUDED.last_error;

-- name: jobs
SELECT job, last_run_at, last_success_at, last_error FROM maintenance_jobs ORDER BY job;
