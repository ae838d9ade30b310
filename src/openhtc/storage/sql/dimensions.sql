-- name: lock_project
-- Lists are replaced one after the other.
SELECT 1 FROM projects WHERE id = $1 FOR NO KEY UPDATE

-- name: lock_workspace
SELECT 1 FROM workspaces WHERE id = $1 FOR NO KEY UPDATE

-- name: list_entries
-- The list of a project, or with a null project the workspace's own, with what is known of the machine types.
SELECT d.machine_type, d.priority, d.region, d.scaling_policy, d.hyperthreading,
       m.architecture AS machine_architecture, m.vcpus, m.memory_mib
FROM dimensions d LEFT JOIN machine_types m ON m.name = d.machine_type
WHERE d.workspace_id = $1 AND d.project_id IS NOT DISTINCT FROM $2 ORDER BY d.position

-- name: delete_entries
DELETE FROM dimensions WHERE workspace_id = $1 AND project_id IS NOT DISTINCT FROM $2

-- name: insert_entries
INSERT INTO dimensions (workspace_id, project_id, position, machine_type, priority, region, scaling_policy,
                        hyperthreading)
SELECT $1, $2, e.position, e.machine_type, e.priority, e.region, e.scaling_policy, e.hyperthreading
FROM unnest($3::text[], $4::smallint[], $5::text[], $6::text[], $7::boolean[]) WITH ORDINALITY
     AS e (machine_type, priority, region, scaling_policy, hyperthreading, position)

-- name: wake_project
-- Agents that wait for work in the regions of a project look again when the transaction commits.
SELECT pg_notify('openhtc_runnable', region) FROM projects, unnest(regions) AS region WHERE id = $1

-- name: wake_workspace
SELECT pg_notify('openhtc_runnable', region)
FROM (SELECT DISTINCT unnest(regions) AS region FROM projects WHERE workspace_id = $1) r
