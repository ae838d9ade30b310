-- name: insert_batch
INSERT INTO batches (id, task_id, project_id, workspace_id, group_label, created_by, created_at, size, request, region,
                     priority, architecture, repository, digest, vcpus, memory_mib, disk_gib, exec_timeout_seconds,
                     max_retries, purge_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
RETURNING batch_no

-- name: insert_jobs
-- All jobs of the given batches at once, runnable from the given time; without a time they are held.
INSERT INTO jobs (batch_no, idx, status, queued_at)
SELECT b.batch_no, i.idx, CASE WHEN $3::timestamptz IS NULL THEN 0 ELSE 2 END, $3
FROM unnest($1::bigint[], $2::int[]) AS b (batch_no, size),
     LATERAL generate_series(0, b.size - 1) AS i (idx)

-- name: find_job
SELECT b.batch_no, b.id, b.task_id, b.project_id, b.group_label, b.created_by, b.created_at, b.request,
       b.region, b.vcpus, b.memory_mib, b.disk_gib, b.exec_timeout_seconds, b.workspace_id,
       j.idx, j.status, j.attempt, j.failures, j.exit_code, j.queued_at, j.leased_at, j.started_at,
       j.ended_at, j.cancelled_at, j.rests_until, j.failure, j.reason, j.agent_no, a.name AS node,
       a.architecture AS node_architecture
FROM batches b
JOIN jobs j ON j.batch_no = b.batch_no
LEFT JOIN agents a ON a.agent_no = j.agent_no
WHERE b.id = $1 AND j.idx = $2 AND b.task_id = $3

-- name: page_jobs
SELECT j.batch_no, j.idx, j.status, j.attempt, j.failures, j.exit_code, j.queued_at, j.leased_at, j.started_at,
       j.ended_at, j.cancelled_at, j.rests_until, j.failure, j.reason, j.agent_no, a.name AS node,
       a.architecture AS node_architecture
FROM page_of_jobs($1, $2, $3, $4, $5, $6, $7, $8) page
JOIN jobs j ON j.batch_no = page.found_batch AND j.idx = page.found_idx
LEFT JOIN agents a ON a.agent_no = j.agent_no
ORDER BY j.batch_no, j.idx

-- name: find_batches
SELECT batch_no, id, task_id, project_id, group_label, created_by, created_at, request, region, vcpus, memory_mib,
       disk_gib, exec_timeout_seconds, workspace_id
FROM batches WHERE batch_no = ANY ($1)

-- name: list_attempts
SELECT attempt, queued_at, leased_at, started_at, ended_at, outcome, exit_code, reason, agent_no
FROM attempts WHERE batch_no = $1 AND idx = $2 ORDER BY attempt

-- name: count_by_group
-- Totals of each group of a task after a label, in order of the label; only the given labels when asked.
SELECT group_label, sum(submitted_to_rescale)::bigint AS submitted_to_rescale,
       sum(submitted_to_provider)::bigint AS submitted_to_provider, sum(runnable)::bigint AS runnable,
       sum(starting)::bigint AS starting, sum(running)::bigint AS running,
       sum(succeeded)::bigint AS succeeded, sum(failed)::bigint AS failed
FROM job_counts
WHERE task_id = $1 AND group_label > $2 AND ($3::text[] IS NULL OR group_label = ANY ($3))
GROUP BY group_label ORDER BY group_label LIMIT $4

-- name: count_task
SELECT coalesce(sum(submitted_to_rescale), 0)::bigint AS submitted_to_rescale,
       coalesce(sum(submitted_to_provider), 0)::bigint AS submitted_to_provider,
       coalesce(sum(runnable), 0)::bigint AS runnable,
       coalesce(sum(starting), 0)::bigint AS starting, coalesce(sum(running), 0)::bigint AS running,
       coalesce(sum(succeeded), 0)::bigint AS succeeded, coalesce(sum(failed), 0)::bigint AS failed
FROM job_counts WHERE task_id = $1

-- name: owns_batch
SELECT EXISTS (SELECT 1 FROM batches WHERE task_id = $1 AND created_by = $2)

-- name: is_unfinished
-- Whether a job that a token was made for still runs or waits.
SELECT EXISTS (
    SELECT 1 FROM batches b JOIN jobs j USING (batch_no) WHERE b.id = $1 AND j.idx = $2 AND j.ended_at IS NULL
)
