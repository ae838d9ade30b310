-- name: lock_limits
-- Submissions that saw no limit have ended when this returns, and later ones wait to see the new one. Advisory locks
-- are given in turn: with a lock on the workspace's row, a stream of submissions would keep a change of limits out.
SELECT pg_advisory_xact_lock(x'6c696d69'::int, hashtext($1))

-- name: keep_limits
-- No limit can appear before the transaction ends.
SELECT pg_advisory_xact_lock_shared(x'6c696d69'::int, hashtext($1))

-- name: has_workspace
SELECT EXISTS (SELECT 1 FROM workspaces WHERE id = $1)

-- name: is_limited
-- A statement of its own after the lock: one that waits for a lock goes on with what it saw before.
SELECT EXISTS (SELECT 1 FROM limits WHERE workspace_id = $1 AND (project_id IS NULL OR project_id = $2))

-- name: put_limit
INSERT INTO limits AS l (workspace_id, project_id, modifier_role, vcpus, created_by, created_at, updated_by, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $5, $6)
ON CONFLICT (workspace_id, project_id, modifier_role)
DO UPDATE SET vcpus = excluded.vcpus, updated_by = excluded.updated_by, updated_at = excluded.updated_at
RETURNING *

-- name: change_limit
UPDATE limits SET vcpus = $2, updated_by = $3, updated_at = $4 WHERE id = $1 RETURNING *

-- name: project_limits
SELECT * FROM limits WHERE project_id = $1 ORDER BY id

-- name: project_limit
SELECT * FROM limits WHERE project_id = $1 AND id = $2

-- name: workspace_limit
SELECT * FROM limits WHERE workspace_id = $1 AND project_id IS NULL

-- name: remove_limits
DELETE FROM limits WHERE id = ANY ($1)
