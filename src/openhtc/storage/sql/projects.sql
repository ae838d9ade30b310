-- name: insert_project
INSERT INTO projects (id, workspace_id, name, description, regions, created_by, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: find_project
SELECT p.id, p.seq, p.workspace_id, p.name, p.description, p.regions, p.created_by, p.created_at,
       w.organization_code,
       ARRAY(SELECT r.name FROM repositories r WHERE r.project_id = p.id ORDER BY r.name) AS repositories
FROM projects p JOIN workspaces w ON w.id = p.workspace_id
WHERE p.id = $1

-- name: page_projects
-- A workspace's projects after a position, oldest first, only one user's when asked.
SELECT p.id, p.seq, p.workspace_id, p.name, p.description, p.regions, p.created_by, p.created_at,
       w.organization_code,
       ARRAY(SELECT r.name FROM repositories r WHERE r.project_id = p.id ORDER BY r.name) AS repositories
FROM projects p JOIN workspaces w ON w.id = p.workspace_id
WHERE p.workspace_id = $1 AND p.seq > $2 AND ($3::text IS NULL OR p.created_by = $3)
ORDER BY p.seq LIMIT $4

-- name: insert_repository
-- One row the first time, none when the repository existed.
INSERT INTO repositories (project_id, name, created_by, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING RETURNING name

-- name: list_repositories
SELECT name FROM repositories WHERE project_id = $1 ORDER BY name

-- name: insert_task
INSERT INTO tasks (id, project_id, name, description, created_by, created_at, last_active_at)
VALUES ($1, $2, $3, $4, $5, $6, $6)

-- name: find_task
SELECT t.id, t.seq, t.project_id, t.name, t.description, t.created_by, t.created_at, t.last_active_at,
       t.archived_at, t.deleted_at, p.workspace_id
FROM tasks t JOIN projects p ON p.id = t.project_id
WHERE t.id = $1 AND t.project_id = $2

-- name: has_task
SELECT EXISTS (SELECT 1 FROM tasks WHERE id = $1)

-- name: lock_task
-- For the one who archives, deletes or cleans it. Waits for submissions that are under way, and for those that overlap
-- with them: as long as there is always one, it does not come to it.
SELECT archived_at, deleted_at FROM tasks WHERE id = $1 FOR NO KEY UPDATE

-- name: hold_task
-- Keeps the task from being archived or deleted until the caller's transaction ends. Many may hold it at once.
SELECT archived_at, deleted_at FROM tasks WHERE id = $1 FOR SHARE

-- name: page_tasks
SELECT t.id, t.seq, t.project_id, t.name, t.description, t.created_by, t.created_at, t.last_active_at,
       t.archived_at, t.deleted_at, p.workspace_id
FROM tasks t JOIN projects p ON p.id = t.project_id
WHERE t.project_id = $1 AND t.seq > $2
ORDER BY t.seq LIMIT $3
