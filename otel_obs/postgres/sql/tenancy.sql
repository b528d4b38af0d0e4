-- name: set_organization
INSERT INTO organizations AS o (id, plan, retention_days, legal_hold, content)
VALUES (%(id)s, %(plan)s, %(retention_days)s, coalesce(%(legal_hold)s, false), %(content)s)
ON CONFLICT (id) DO UPDATE SET
    plan = coalesce(EXCLUDED.plan, o.plan),
    retention_days = CASE
        WHEN EXCLUDED.plan IS NULL THEN o.retention_days
        WHEN EXCLUDED.plan = 'enterprise' THEN
            coalesce(EXCLUDED.retention_days, CASE WHEN o.plan = 'enterprise' THEN o.retention_days END)
    END,
    legal_hold = coalesce(%(legal_hold)s, o.legal_hold),
    content = coalesce(EXCLUDED.content, o.content),
    updated_at = now();

-- name: organization
SELECT id, plan, retention_days, legal_hold, created_at, updated_at, content,
    max_spans_per_second, max_bytes_per_second, max_bytes_per_day, max_stored_bytes
FROM organizations WHERE id = %(id)s;

-- name: organizations_after
SELECT id, plan, retention_days, legal_hold, created_at, updated_at, content,
    max_spans_per_second, max_bytes_per_second, max_bytes_per_day, max_stored_bytes
FROM organizations
WHERE %(after)s::text IS NULL OR id > %(after)s
ORDER BY id
LIMIT %(limit)s;

-- name: set_limits
UPDATE organizations SET
    max_spans_per_second = %(max_spans_per_second)s,
    max_bytes_per_second = %(max_bytes_per_second)s,
    max_bytes_per_day = %(max_bytes_per_day)s,
    max_stored_bytes = %(max_stored_bytes)s,
    updated_at = now()
WHERE id = %(id)s;

-- name: workspace_content
SELECT content FROM workspaces WHERE organization_id = %(organization_id)s AND id = %(id)s FOR UPDATE;

-- name: set_workspace_content
UPDATE workspaces SET content = %(content)s WHERE organization_id = %(organization_id)s AND id = %(id)s;

-- name: restore_organization
-- One that was set again while it was being deleted.
DELETE FROM deleted_tenants WHERE organization_id = %(id)s AND workspace_id = '' AND user_id = '';

-- name: restore_workspace
DELETE FROM deleted_tenants
WHERE organization_id = %(organization_id)s AND workspace_id = %(id)s AND user_id = '';

-- name: register_organization
INSERT INTO organizations (id) VALUES (%(organization_id)s) ON CONFLICT DO NOTHING;

-- name: set_workspace
INSERT INTO workspaces (organization_id, id) VALUES (%(organization_id)s, %(id)s) ON CONFLICT DO NOTHING;

-- name: set_workflow
INSERT INTO workflows (organization_id, id, workspace_id) VALUES (%(organization_id)s, %(id)s, %(workspace_id)s)
ON CONFLICT (organization_id, id) DO UPDATE SET workspace_id = EXCLUDED.workspace_id;

-- name: workflow
SELECT workspace_id FROM workflows WHERE organization_id = %(organization_id)s AND id = %(id)s;

-- name: hold
SELECT legal_hold FROM organizations WHERE id = %(organization_id)s FOR SHARE;

-- name: lock_organization
-- Writers that hold it commit before; those that come later find that it is deleted.
SELECT FROM organizations WHERE id = %(organization_id)s FOR UPDATE;

-- name: lock_workspace
SELECT FROM workspaces WHERE organization_id = %(organization_id)s AND id = %(workspace_id)s FOR UPDATE;

-- name: lock_user
SELECT FROM users WHERE organization_id = %(organization_id)s AND id = %(user_id)s FOR UPDATE;

-- name: remember_deleted
INSERT INTO deleted_tenants (organization_id, workspace_id, user_id)
VALUES (%(organization_id)s, %(workspace_id)s, %(user_id)s)
ON CONFLICT (organization_id, workspace_id, user_id) DO NOTHING;

-- name: delete_organization
DELETE FROM organizations WHERE id = %(organization_id)s;

-- name: delete_workspace
DELETE FROM workspaces WHERE organization_id = %(organization_id)s AND id = %(workspace_id)s;

-- name: delete_user
DELETE FROM users WHERE organization_id = %(organization_id)s AND id = %(user_id)s;

-- name: delete_unsettled_trace
DELETE FROM unsettled_traces WHERE organization_id = %(organization_id)s AND trace_id = %(trace_id)s;

-- name: columns
-- Columns of a table with their types, in order.
SELECT a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_attribute AS a
WHERE a.attrelid = %(table)s::text::regclass AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum;
