-- name: put_policy
-- A project's policy, or the workspace's when the project is null; replaces the one that there was.
INSERT INTO retention_policies (workspace_id, project_id, archive_after, delete_after, created_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (workspace_id, project_id) DO UPDATE SET archive_after = $3, delete_after = $4, created_at = $5

-- name: find_policy
SELECT workspace_id, project_id, archive_after, delete_after, created_at FROM retention_policies
WHERE workspace_id = $1 AND project_id IS NOT DISTINCT FROM $2

-- name: drop_policy
DELETE FROM retention_policies WHERE workspace_id = $1 AND project_id = $2
RETURNING workspace_id, project_id, archive_after, delete_after, created_at

-- name: count_unfinished
SELECT coalesce(sum(submitted_to_rescale + submitted_to_provider + runnable + starting + running), 0)::bigint
FROM job_counts WHERE task_id = $1

-- name: archive_task
UPDATE tasks SET archived_at = $2 WHERE id = $1

-- name: restore_task
UPDATE tasks SET archived_at = NULL, last_active_at = $2 WHERE id = $1

-- name: delete_task
UPDATE tasks SET deleted_at = $2, storage_due_at = $2 WHERE id = $1

-- name: lock_idle
-- A page of tasks that were idle for as long as their policy says and have no unfinished job. The project's policy
-- stands for the workspace's, its zeros included. Tasks that somebody else holds are for the next time. Longer than a
-- century is a century, so that every number of hours gives a time.
SELECT idle.id FROM projects p
LEFT JOIN retention_policies own ON own.workspace_id = p.workspace_id AND own.project_id = p.id
LEFT JOIN retention_policies general ON general.workspace_id = p.workspace_id AND general.project_id IS NULL
CROSS JOIN LATERAL (SELECT coalesce(own.archive_after, general.archive_after) AS hours) policy
CROSS JOIN LATERAL (
    SELECT t.id FROM tasks t
    WHERE policy.hours > 0 AND t.project_id = p.id AND t.archived_at IS NULL AND t.deleted_at IS NULL
      AND t.last_active_at <= $1::timestamptz - make_interval(hours => least(policy.hours, 876000))
      AND NOT EXISTS (
          SELECT 1 FROM job_counts c WHERE c.task_id = t.id
          HAVING sum(submitted_to_rescale + submitted_to_provider + runnable + starting + running) > 0
      )
    ORDER BY t.last_active_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
) idle
LIMIT $2

-- name: archive_tasks
-- Those of the locked tasks that still have nothing to do: jobs may have been submitted before they were locked.
UPDATE tasks SET archived_at = $2 WHERE id = ANY ($1) AND NOT EXISTS (
    SELECT 1 FROM job_counts c WHERE c.task_id = tasks.id
    HAVING sum(submitted_to_rescale + submitted_to_provider + runnable + starting + running) > 0
)
RETURNING id

-- name: delete_archived
-- A page of tasks that were archived for as long as their policy says. They have no unfinished job.
UPDATE tasks SET deleted_at = $1, storage_due_at = $1 FROM (
    SELECT old.id, policy.hours FROM projects p
    LEFT JOIN retention_policies own ON own.workspace_id = p.workspace_id AND own.project_id = p.id
    LEFT JOIN retention_policies general ON general.workspace_id = p.workspace_id AND general.project_id IS NULL
    CROSS JOIN LATERAL (SELECT coalesce(own.delete_after, general.delete_after) AS hours) policy
    CROSS JOIN LATERAL (
        SELECT t.id FROM tasks t
        WHERE policy.hours > 0 AND t.project_id = p.id AND t.archived_at IS NOT NULL AND t.deleted_at IS NULL
          AND t.archived_at <= $1::timestamptz - make_interval(hours => least(policy.hours, 876000))
        ORDER BY t.archived_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
    ) old
    LIMIT $2
) found
WHERE tasks.id = found.id
RETURNING tasks.id, found.hours

-- name: due_storage
-- The deleted task whose files are to be removed next.
SELECT id, project_id, deleted_at FROM tasks WHERE storage_due_at <= $1 ORDER BY storage_due_at, id LIMIT 1

-- name: postpone_storage
UPDATE tasks SET storage_due_at = $2 WHERE id = $1

-- name: note_storage_freed
UPDATE tasks SET storage_freed_at = $2, storage_due_at = $3 WHERE id = $1
