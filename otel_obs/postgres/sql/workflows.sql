-- name: bindings
-- The workspaces that workflows belong to, those set last first.
SELECT organization_id, id, workspace_id
FROM workflows
ORDER BY created_at DESC
LIMIT %(most)s
