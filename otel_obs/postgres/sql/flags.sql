-- name: version
-- Which state of the flags is stored: the one question that is asked again and again.
SELECT version, changed_at, secret FROM flag_set;

-- name: listen
-- What the triggers of feature_flags notify.
LISTEN otel_obs_flags;

-- name: load
-- All flags, or those that count for one organization.
SELECT flag_name, is_enabled, organization_id, workspace_id, user_id, variants, rollout, prerequisites, starts_at,
    expires_at, killed, description, owner, version, updated_at
FROM feature_flags
WHERE %(organization_id)s::text IS NULL OR organization_id IS NULL OR organization_id = %(organization_id)s;

-- name: list_flags
-- Keyset paging by name and scope; an absent id sorts as the empty one, which no id is.
SELECT flag_name, is_enabled, organization_id, workspace_id, user_id, variants, rollout, prerequisites, starts_at,
    expires_at, killed, description, owner, version, updated_at
FROM feature_flags
WHERE (%(organization_id)s::text IS NULL OR organization_id IS NULL OR organization_id = %(organization_id)s)
  AND (%(flag_name)s::text IS NULL OR flag_name = %(flag_name)s)
  AND (flag_name, coalesce(organization_id, ''), coalesce(workspace_id, ''), coalesce(user_id, ''))
      > ((%(after)s::text[])[1], (%(after)s::text[])[2], (%(after)s::text[])[3], (%(after)s::text[])[4])
ORDER BY flag_name, coalesce(organization_id, ''), coalesce(workspace_id, ''), coalesce(user_id, '')
LIMIT %(limit)s;

-- name: lock_flags
-- One writer of flags at a time: there are few, and each decides by what it has read.
SELECT pg_advisory_xact_lock(hashtext('otel_obs.feature_flags'));

-- name: flags_called
SELECT flag_name, is_enabled, organization_id, workspace_id, user_id, variants, rollout, prerequisites, starts_at,
    expires_at, killed, description, owner, version, updated_at
FROM feature_flags
WHERE flag_name = %(flag_name)s;

-- name: is_deleted
SELECT EXISTS (
    SELECT FROM deleted_tenants
    WHERE organization_id = %(organization_id)s
      AND (workspace_id, user_id) IN (('', ''), (coalesce(%(workspace_id)s, ''), ''), ('', coalesce(%(user_id)s, '')))
);

-- name: register_organization
INSERT INTO organizations (id) VALUES (%(organization_id)s) ON CONFLICT (id) DO NOTHING;

-- name: register_workspace
INSERT INTO workspaces (organization_id, id) VALUES (%(organization_id)s, %(workspace_id)s)
ON CONFLICT (organization_id, id) DO NOTHING;

-- name: register_user
-- Who has a flag can be deleted together with it.
INSERT INTO users (organization_id, id) VALUES (%(organization_id)s, %(user_id)s)
ON CONFLICT (organization_id, id) DO NOTHING;

-- name: last_deleted_version
-- A flag that is made anew goes on counting: who read the old one must not take it for the same.
SELECT coalesce(max((before ->> 'version')::bigint), 0)
FROM audit_log
WHERE subject = %(flag_name)s AND action = 'flags.delete'
  AND before ->> 'organization_id' IS NOT DISTINCT FROM %(organization_id)s::text
  AND before ->> 'workspace_id' IS NOT DISTINCT FROM %(workspace_id)s::text
  AND before ->> 'user_id' IS NOT DISTINCT FROM %(user_id)s::text;

-- name: insert_flag
INSERT INTO feature_flags (flag_name, is_enabled, organization_id, workspace_id, user_id, variants, rollout,
    prerequisites, starts_at, expires_at, killed, description, owner, version)
VALUES (%(flag_name)s, %(is_enabled)s, %(organization_id)s, %(workspace_id)s, %(user_id)s, %(variants)s, %(rollout)s,
    %(prerequisites)s, %(starts_at)s, %(expires_at)s, %(killed)s, %(description)s, %(owner)s, %(version)s);

-- name: update_flag
UPDATE feature_flags
SET is_enabled = %(is_enabled)s, variants = %(variants)s, rollout = %(rollout)s, prerequisites = %(prerequisites)s,
    starts_at = %(starts_at)s, expires_at = %(expires_at)s, killed = %(killed)s, description = %(description)s,
    owner = %(owner)s, version = %(version)s
WHERE flag_name = %(flag_name)s
  AND organization_id IS NOT DISTINCT FROM %(organization_id)s::text
  AND workspace_id IS NOT DISTINCT FROM %(workspace_id)s::text
  AND user_id IS NOT DISTINCT FROM %(user_id)s::text;

-- name: delete_flag
DELETE FROM feature_flags
WHERE flag_name = %(flag_name)s
  AND organization_id IS NOT DISTINCT FROM %(organization_id)s::text
  AND workspace_id IS NOT DISTINCT FROM %(workspace_id)s::text
  AND user_id IS NOT DISTINCT FROM %(user_id)s::text;

-- name: history
-- What happened to flags, the newest first; entries of organizations are shown to whoever asks for them.
SELECT id, at, actor, organization_id, action, subject, before, after, why
FROM audit_log
WHERE action IN ('flags.set', 'flags.delete')
  AND (%(flag_name)s::text IS NULL OR subject = %(flag_name)s)
  AND (%(organization_id)s::text IS NULL OR organization_id IS NULL OR organization_id = %(organization_id)s)
  AND (%(before_id)s::bigint IS NULL OR id < %(before_id)s)
ORDER BY id DESC
LIMIT %(limit)s;

-- name: used
-- Several servers do this: the latest time stays, and whoever finds a row locked waits, for all come in one order.
INSERT INTO flag_usage (organization_id, flag_name, last_evaluated_at)
SELECT organization_id, flag_name, last_evaluated_at
FROM unnest(%(organization_ids)s::text[], %(flag_names)s::text[], %(last_evaluated_at)s::timestamptz[])
    AS u (organization_id, flag_name, last_evaluated_at)
WHERE EXISTS (SELECT FROM organizations AS o WHERE o.id = u.organization_id)
  AND EXISTS (SELECT FROM feature_flags AS f WHERE f.flag_name = u.flag_name)
ORDER BY organization_id, flag_name
ON CONFLICT (organization_id, flag_name) DO UPDATE
SET last_evaluated_at = greatest(flag_usage.last_evaluated_at, excluded.last_evaluated_at);

-- name: last_evaluations
-- When each flag was last evaluated, as programs say (flag_usage) and as telemetry says, since a moment.
SELECT flag_name, max(at) AS last_evaluated_at
FROM (
    SELECT u.flag_name, u.last_evaluated_at AS at
    FROM flag_usage AS u
    WHERE %(organization_id)s::text IS NULL OR u.organization_id = %(organization_id)s
    UNION ALL
    SELECT e.name, max(e."timestamp")
    FROM event_logs AS e
    WHERE e.event_type = 'feature_flag' AND e."timestamp" >= %(since)s
      AND (%(organization_id)s::text IS NULL OR e.organization_id = %(organization_id)s)
    GROUP BY e.name
) AS known
GROUP BY flag_name;
