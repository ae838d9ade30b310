-- name: set_region
INSERT INTO regions AS r (name, provider, enabled, weight, architectures, updated_by, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (name) DO UPDATE SET provider = $2, enabled = $3, weight = $4, architectures = $5, updated_by = $6,
                                 updated_at = $7
RETURNING name, provider, enabled, weight, architectures, updated_by, updated_at

-- name: list_regions
SELECT name, provider, enabled, weight, architectures, updated_by, updated_at FROM regions ORDER BY seq

-- name: find_region
SELECT name, provider, enabled, weight, architectures, updated_by, updated_at FROM regions WHERE name = $1

-- name: region_weights
SELECT name, weight FROM regions WHERE enabled AND name = ANY ($1)

-- name: set_workspace_regions
UPDATE workspaces SET regions = $2 WHERE id = $1 RETURNING id

-- name: set_project_regions
UPDATE projects SET regions = $2 WHERE id = $1

-- name: lock_project
SELECT regions FROM projects WHERE id = $1 FOR NO KEY UPDATE
